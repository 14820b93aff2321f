// The Redis side of the bus: one stream per partition, an aggregate always in the same one, one consumer group.
import { createHash } from 'node:crypto';
import type { StoredEvent } from '../domain/event.ts';
import type { RedisConnection } from '../platform/redis.ts';
import type { EventRow } from '../platform/schema.ts';

/** How many consumers can share the work; more processes than this stand by. */
export const partitionCount = 8;
const group = 'handlers';
export const partitions: readonly number[] = Array.from({ length: partitionCount }, (_, index) => index);
/** Of the keys in Redis, where nobody says otherwise. */
export const defaultPrefix = 'athyper';
export const streamOf = (prefix: string, partition: number): string => `${prefix}:events:${partition}`;

export function partitionOf(aggregateId: string): number {
  return createHash('sha1').update(aggregateId).digest().readUInt32BE(0) % partitionCount;
}

/** An event as it lies in an entry. */
export type Wire = EventRow;

/**
 * Without an event where the entry was deleted and is still listed as pending: there is nothing left to do for it.
 * `unreadable`: what somebody else has written into our stream.
 */
export type Entry = Readonly<{ entryId: string; event: Wire | undefined; unreadable?: string }>;

export const toWire = (event: StoredEvent): Wire => ({
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
});

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

/** A consumer of whose pending entries nothing is left: with any, removing it would remove them from the group. */
const forgetScript = `
  for _, consumer in ipairs(redis.call('xinfo', 'consumers', KEYS[1], ARGV[1])) do
    local fields = {}
    for n = 1, #consumer, 2 do fields[consumer[n]] = consumer[n + 1] end
    if fields.name ~= ARGV[2] and fields.pending == 0 then
      redis.call('xgroup', 'delconsumer', KEYS[1], ARGV[1], fields.name)
    end
  end`;

/** Takes over what consumers that are gone have read and not acknowledged, and forgets their names. */
export async function takeOver(redis: RedisConnection, stream: string, consumer: string): Promise<void> {
  let cursor = '0-0';
  do {
    const [next] = (await redis.xautoclaim(stream, group, consumer, 0, cursor, 'COUNT', 100)) as [string, ...unknown[]];
    cursor = next;
  } while (cursor !== '0-0');
  await redis.eval(forgetScript, 1, stream, group, consumer);
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
    const event = parseWire(text);
    return event === undefined ? { entryId, event, unreadable: text.slice(0, 200) } : { entryId, event };
  });
}

function parseWire(text: string): Wire | undefined {
  try {
    const event = JSON.parse(text) as Partial<Wire> | null;
    if (typeof event?.id !== 'string' || typeof event.aggregate_id !== 'string') return undefined;
    return { ...(event as Wire), occurred_at: new Date(event.occurred_at ?? '') };
  } catch {
    return undefined;
  }
}

type RawEntry = readonly [entryId: string, fields: readonly string[] | null];
