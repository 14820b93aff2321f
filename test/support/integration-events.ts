// Integration events: one that no catalogue knows, those of a user who moves, and the stream as its readers see it.
import type { Redis } from 'ioredis';
import { integrationQueue, type IntegrationEvent } from '../../src/domain/integration-event.ts';
import { derivedId, newId } from '../../src/domain/ids.ts';
import type { SagaService } from './saga-service.ts';

export const integrationEvent = (changes: Partial<IntegrationEvent> = {}): IntegrationEvent => ({
  eventId: newId(),
  eventType: 'thing.made',
  version: 2,
  occurredAt: new Date('2026-01-02T03:04:05.678Z'),
  source: '/athyper-sagas',
  aggregateId: 'thing-1',
  aggregateType: 'thing',
  sequence: 1,
  data: { name: 'lamp' },
  metadata: {
    tenantId: 'acme',
    userId: 'u-1',
    correlationId: 'c-1',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  },
  ...changes,
});

/** A user who moves `moves` times: a created event, and one for each move. */
export async function movingUser({ parts }: SagaService, moves: number): Promise<string> {
  const userId = newId();
  const of = { occurredAt: new Date(), aggregateId: userId, aggregateType: 'user', metadata: { tenantId: 'acme' } };
  const email = 'a@example.com';
  await parts.store.append([
    { ...of, eventId: newId(), eventType: 'user.created' as const, payload: { userId, email, tenantId: 'acme' } },
    ...Array.from({ length: moves }, (_, n) => ({
      ...of,
      eventId: derivedId(userId, String(n)),
      eventType: 'user.email_updated' as const,
      payload: { userId, oldEmail: email, newEmail: `b${n}@example.com` },
    })),
  ]);
  return userId;
}

export type StreamEntry = Readonly<Record<'id' | 'type' | 'subject' | 'tenant' | 'event', string>>;

/** All of it, from the oldest on. */
export async function readStream(redis: Redis): Promise<readonly StreamEntry[]> {
  const read = await redis.xrange(integrationQueue, '-', '+');
  return read.map(
    ([, fields]) =>
      Object.fromEntries(Array.from({ length: 5 }, (_, n) => fields.slice(2 * n, 2 * n + 2))) as StreamEntry,
  );
}

/** Of one aggregate, as they lie in the stream. */
export const sequencesOf = (entries: readonly StreamEntry[], subject: string): readonly number[] =>
  entries
    .filter((entry) => entry.subject === subject)
    .map(({ event }) => Number((JSON.parse(event) as { sequence: string }).sequence));
