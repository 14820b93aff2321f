// The Redis side of the bus: one stream per partition, an aggregate always in the same one, one consumer group.
import { createHash } from 'node:crypto';
import type { StoredEvent } from '../domain/event.ts';
import type { RedisConnection } from '../platform/redis.ts';
import type { EventRow } from '../platform/schema.ts';

/** How many consumers can share the work; more processes than this stand by. */
export const partitionCount = 8;
const group = 'handlers';
export const partitions: readonly number[] = Array.from({ length: partitionCount }, (_, index) => index);
export const streamOf = (prefix: string, partition: number): string => `${prefix}:events:${partition}`;

export function partitionOf(aggregateId: string): number {
  return createHash('sha1').update(aggregateId).digest().readUInt32BE(0) % partitionCount;
}

/** Without an event where the entry was deleted and is still listed as pending: there is nothing left to do for it. */
export type Entry = Readonly<{ entryId: string; event: EventRow | undefined }>;

export async function addToStream(redis: RedisConnection, prefix: string, event: StoredEvent): Promise<void> {
  const wire: EventRow = {
    id: event.eventId,
    event_type: event.eventType,
    aggregate_id: event.aggregateId,
    aggregate_type: event.aggregateType,
    version: event.version,
    payload: event.payload,
    metadata: event.metadata,
    schema_version: event.schemaVersion,
    occurred_at: event.occurredAt,
    position: event.position,
  };
  await redis.xadd(streamOf(prefix, partitionOf(event.aggregateId)), '*', 'event', JSON.stringify(wire));
}

/** `0`: what was read before and not acknowledged (by this consumer name); `>`: what nobody has read. */
export async function readGroup(
  redis: RedisConnection,
  read: Readonly<{ stream: string; consumer: string; from: '0' | '>'; blockMilliseconds: number; count: number }>,
): Promise<readonly Entry[]> {
  const { stream, consumer, from, blockMilliseconds, count } = read;
  const answer: unknown =
    from === '0'
      ? await redis.xreadgroup('GROUP', group, consumer, 'COUNT', count, 'STREAMS', stream, from)
      : await redis.xreadgroup(
          'GROUP',
          group,
          consumer,
          'COUNT',
          count,
          'BLOCK',
          blockMilliseconds,
          'STREAMS',
          stream,
          from,
        );
  return toEntries(answer);
}

/** Takes over what a consumer that is gone has read and not acknowledged. */
export async function takeOver(redis: RedisConnection, stream: string, consumer: string): Promise<void> {
  let cursor = '0-0';
  do {
    const [next] = (await redis.xautoclaim(stream, group, consumer, 0, cursor, 'COUNT', 100)) as [string, ...unknown[]];
    cursor = next;
  } while (cursor !== '0-0');
}

/** Acknowledged is done with: the one group is the only reader, so the entry goes as well and nothing else is cut. */
export async function acknowledge(redis: RedisConnection, stream: string, entryId: string): Promise<void> {
  const answers = (await redis.multi().xack(stream, group, entryId).xdel(stream, entryId).exec()) ?? [];
  // A Redis that cannot write refuses each command on its own; the entry is then still pending and is read again.
  for (const [error] of answers) if (error !== null) throw error;
}

/** From the beginning: a group that was lost with its Redis must not skip what was written since. */
export async function ensureGroup(redis: RedisConnection, stream: string): Promise<void> {
  try {
    await redis.xgroup('CREATE', stream, group, '0', 'MKSTREAM');
  } catch (error) {
    if (!isReply(error, 'BUSYGROUP')) throw error;
  }
}

export const isReply = (error: unknown, code: string): boolean =>
  error instanceof Error && error.message.startsWith(code);

/** The answer of one stream: [[stream, [[id, [field, value, …] or null], …]]], or null where there is nothing. */
function toEntries(answer: unknown): readonly Entry[] {
  const [[, entries] = []] = (answer ?? []) as readonly [string, readonly RawEntry[]][];
  return (entries ?? []).map(([entryId, fields]) => {
    const text = fields?.[fields.indexOf('event') + 1];
    if (text === undefined) return { entryId, event: undefined };
    const event = JSON.parse(text) as EventRow;
    return { entryId, event: { ...event, occurred_at: new Date(event.occurred_at) } };
  });
}

type RawEntry = readonly [entryId: string, fields: readonly string[] | null];
