// Deliveries, for operators: what waits, what is dead, and sending it again.
import { Router, type Request } from 'express';
import { z } from 'zod';
import { isId } from '../domain/ids.ts';
import { holdDestination, listDeliveries, retryDeadLetters, type DeliveryCursor } from '../outbox/outbox-admin.ts';
import { isPosition } from '../event-store/log-cursor.ts';
import type { Db } from '../platform/database.ts';
import { endpointIdOf } from '../webhooks/destination.ts';
import type { WebhookEndpoints } from '../webhooks/webhook-endpoints.ts';
import type { Idempotent } from './idempotency/idempotent.ts';
import { jsonAnswer, type Answer } from './protocol/answer.ts';
import { countOf, encodeNext, nextOf, parse, pathSafeId } from './protocol/fields.ts';
import { HttpError } from './protocol/problems.ts';
import { pathPart, serve, type Exchange } from './protocol/routes.ts';

const cursorSchema = z.object({ position: z.string().refine(isPosition), destination: pathSafeId });
const listSchema = z.strictObject({
  state: z.enum(['pending', 'dead']).default('dead'),
  destination: pathSafeId.optional(),
  limit: countOf(200, 50),
  after: nextOf<DeliveryCursor>(cursorSchema).optional(),
});
const destinationSchema = z.object({ destination: pathSafeId });

/** What a dead letter of each destination does to the later events of its aggregate. */
export type Destinations = Readonly<Record<string, 'block' | 'continue'>>;

/** `poke` wakes the relay of this process and of others after a change. */
export type OutboxRouterDeps = Readonly<{
  db: Db;
  idempotent: Idempotent;
  destinations: Destinations;
  isDestination: (name: string) => boolean;
  /** Each is a destination of its tenant. */
  webhooks: Readonly<{ endpoints: Pick<WebhookEndpoints, 'find'> }>;
  poke: () => void;
}>;

export function createOutboxRouter(deps: OutboxRouterDeps): Router {
  const { db, idempotent, poke } = deps;
  const router = Router({ caseSensitive: true });
  const destinationOf = async (request: Request, tenantId: string): Promise<string> =>
    await knownDestination(deps, request, tenantId);
  const blocking = Object.keys(deps.destinations).filter((name) => deps.destinations[name] === 'block');

  serve(router, '/outbox', {
    get: async ({ request, metadata }) => {
      const filter = parse(listSchema, request.query);
      const { deliveries, next } = await listDeliveries(db, { ...filter, blocking, tenantId: metadata.tenantId });
      return jsonAnswer(200, { deliveries, next: encodeNext(next) });
    },
  });

  serve(router, '/outbox/:eventId/:destination/retry', {
    post: idempotent(async ({ request, metadata: { tenantId } }) => {
      const [eventId, destination] = [pathPart(request, 'eventId'), await destinationOf(request, tenantId)];
      const retried = isId(eventId) ? await retryDeadLetters(db, { tenantId, destination, eventId }) : 0;
      if (retried === 0) {
        throw new HttpError({
          status: 404,
          code: 'dead-letter-not-found',
          detail: `${eventId} is no dead letter of ${destination}`,
        });
      }
      poke();
      return jsonAnswer(202, { retried });
    }),
  });

  serve(router, '/outbox/:destination/retry', {
    post: idempotent(async ({ request, metadata: { tenantId } }) => {
      const retried = await retryDeadLetters(db, { tenantId, destination: await destinationOf(request, tenantId) });
      poke();
      return jsonAnswer(202, { retried });
    }),
  });

  const hold = async ({ request, metadata }: Exchange, paused: boolean): Promise<Answer> => {
    const destination = await destinationOf(request, metadata.tenantId);
    await holdDestination(db, destination, paused);
    poke();
    return jsonAnswer(200, { destination, paused });
  };
  serve(router, '/outbox/:destination/pause', { post: idempotent(async (exchange) => await hold(exchange, true)) });
  serve(router, '/outbox/:destination/resume', { post: idempotent(async (exchange) => await hold(exchange, false)) });
  return router;
}

/** A misspelt one would be held for ever without anybody noticing. */
async function knownDestination(
  { destinations, isDestination, webhooks }: OutboxRouterDeps,
  request: Request,
  tenantId: string,
): Promise<string> {
  const { destination } = parse(destinationSchema, { destination: pathPart(request, 'destination') });
  if (isDestination(destination)) return destination;
  const endpointId = endpointIdOf(destination);
  if (endpointId !== undefined && (await webhooks.endpoints.find(tenantId, endpointId)) !== undefined) {
    return destination;
  }
  const known = [...Object.keys(destinations), 'webhook:{id} of an endpoint'];
  const detail = `there is no destination ${destination}; there are ${known.join(', ')}`;
  throw new HttpError({ status: 404, code: 'destination-not-found', detail, field: 'destination' });
}
