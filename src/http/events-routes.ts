// GET /events: the log of a tenant in its safe order.
import { Router } from 'express';
import { z } from 'zod';
import type { EventStore } from '../event-store/event-store.ts';
import { decodeCursor } from '../event-store/log-cursor.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { countOf, parse, text } from './protocol/fields.ts';
import { serve } from './protocol/routes.ts';

const mostEvents = 1000;

const cursor = z.string().transform((given, context) => {
  const decoded = decodeCursor(given);
  if (decoded !== undefined) return decoded;
  context.addIssue({ code: 'custom', message: 'must be the `next` of an earlier answer' });
  return z.NEVER;
});
const instant = z.iso.datetime({ offset: true, message: 'must be an ISO 8601 time with its offset, or Z' });
const storable = text(1, 256).regex(/^[\x20-\x7e]*$/, 'must be printable ASCII');

const logSchema = z.strictObject({
  type: storable.optional(),
  aggregateId: storable.optional(),
  from: instant.transform((given) => new Date(given)).optional(),
  to: instant.transform((given) => new Date(given)).optional(),
  after: cursor.optional(),
  limit: countOf(mostEvents, 100),
});

export function createEventsRouter({ store }: Readonly<{ store: EventStore }>): Router {
  const router = Router({ caseSensitive: true });
  serve(router, '/events', {
    get: async ({ request, metadata }) => {
      const { type: eventType, ...filter } = parse(logSchema, request.query);
      // `next` is given also on an empty page: who polls goes on from there.
      const { events, next } = await store.readLog({ ...filter, eventType, tenantId: metadata.tenantId });
      return jsonAnswer(200, { events, next });
    },
  });
  return router;
}
