// What was sent to a webhook endpoint, what waits, what failed, and sending it again.
import { Router } from 'express';
import { z } from 'zod';
import { isPosition } from '../event-store/log-cursor.ts';
import type { Db } from '../platform/database.ts';
import { destinationOfEndpoint } from '../webhooks/destination.ts';
import {
  listWebhookDeliveries,
  replayEvent,
  replaySince,
  type DeliveryAfter,
} from '../webhooks/endpoint-deliveries.ts';
import type { Idempotent } from './idempotency/idempotent.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { bodyOf } from './protocol/body.ts';
import { countOf, parse } from './protocol/fields.ts';
import { HttpError } from './protocol/problems.ts';
import { serve } from './protocol/routes.ts';
import { endpointIdOf, found, type WebhookParts } from './webhook-endpoints-routes.ts';

const cursor = z.string().transform((given, context): DeliveryAfter => {
  const [position = '', eventId = ''] = given.split('.');
  if (isPosition(position) && z.uuid().safeParse(eventId).success) return { position, eventId };
  context.addIssue({ code: 'custom', message: 'must be the `next` of an earlier answer' });
  return z.NEVER;
});
const listSchema = z.strictObject({
  state: z.enum(['pending', 'dead', 'done']).optional(),
  limit: countOf(200, 50),
  after: cursor.optional(),
});
const replaySchema = z
  .strictObject({ eventId: z.uuid().optional(), since: z.iso.datetime({ offset: true }).optional() })
  .refine(
    ({ eventId, since }) => (eventId === undefined) !== (since === undefined),
    'must hold either eventId or since',
  );

export function createWebhookDeliveriesRouter(
  deps: Readonly<{ db: Db; webhooks: WebhookParts; idempotent: Idempotent; poke: () => void }>,
): Router {
  const { db, idempotent, poke } = deps;
  const router = Router({ caseSensitive: true });
  /** @throws HttpError 404 where the tenant has no such endpoint */
  const destinationOf = async (tenantId: string, id: string): Promise<string> =>
    destinationOfEndpoint(found(await deps.webhooks.endpoints.find(tenantId, id), id).id);

  serve(router, '/webhook-endpoints/:endpointId/deliveries', {
    get: async ({ request, metadata: { tenantId } }) => {
      const destination = await destinationOf(tenantId, endpointIdOf(request));
      const { state, limit, after } = parse(listSchema, request.query);
      const { deliveries, next } = await listWebhookDeliveries(db, { destination, state, limit, after });
      return jsonAnswer(200, { deliveries, next: next === undefined ? null : `${next.position}.${next.eventId}` });
    },
  });

  serve(router, '/webhook-endpoints/:endpointId/replay', {
    // Asked again after a lost answer it sends what is done by then once more, as any replay does: under the same ids.
    post: idempotent(async ({ request, metadata: { tenantId } }) => {
      const destination = await destinationOf(tenantId, endpointIdOf(request));
      const { eventId, since } = parse(replaySchema, bodyOf(request));
      const replayed =
        eventId === undefined
          ? await replaySince(db, destination, new Date(since ?? Date.now()))
          : await replayEvent(db, destination, eventId);
      if (replayed === 0 && eventId !== undefined) {
        throw new HttpError({
          status: 404,
          code: 'delivery-not-found',
          detail: `${eventId} is no delivery to this endpoint that is done, or dead, and still kept`,
          field: 'eventId',
        });
      }
      poke();
      return jsonAnswer(202, { replayed });
    }),
  });
  return router;
}
