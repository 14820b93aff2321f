// Reads one partition, entry after entry: handled until it works or is a dead letter, and only then acknowledged.
import { setTimeout as sleep } from 'node:timers/promises';
import type { StoredEvent } from '../domain/event.ts';
import { describeError, logContextOf, PermanentDeliveryError } from '../outbox/delivery.ts';
import type { Logger } from '../platform/logger.ts';
import { connectBlockingRedis, type RedisConnection } from '../platform/redis.ts';
import type { EventRow } from '../platform/schema.ts';
import { isNobodysFault } from './handler-registry.ts';
import { acknowledge, ensureGroup, isReply, readGroup, takeOver } from './redis-streams.ts';

export type ReaderDeps = Readonly<{
  url: string;
  logger: Logger;
  handle: (event: StoredEvent) => Promise<void>;
  /** Validates what comes out of the stream, as the log does. @throws PermanentDeliveryError for a dead letter at once */
  decode: (event: EventRow) => StoredEvent;
  /** Makes a dead letter of an event whose handlers keep failing; it is acknowledged after that. */
  park: (event: EventRow, error: string) => Promise<void>;
  /** Then it is one. */
  mostAttempts: number;
  /** For what does not block. */
  redis: RedisConnection;
  consumer: string;
}>;

export type ReadPartition = Readonly<{
  stream: string;
  /** How long this consumer still owns it, if nothing more is heard. Past that another one may read it. */
  leftMilliseconds: () => number;
}>;

export type Reader = Readonly<{ stop(): Promise<void> }>;

/** Shorter than the limit of a command, so that a dead connection is noticed. */
const blockMilliseconds = 2_000;
/** With less than this left of the lease nothing is read: the answer could come when another reads. */
const leastLeaseMilliseconds = 300;
/** How many entries a partition has in this process at most, and among its pending ones. */
const readCount = 50;
/** How often is looked for entries that were given to a reader who never got them, as over a dead connection. */
const sweepMilliseconds = 5_000;
const longestRetryMilliseconds = 30_000;

export function startReader(deps: ReaderDeps, { stream, leftMilliseconds }: ReadPartition): Reader {
  const { logger, consumer } = deps;
  const redis = connectBlockingRedis(deps.url, { name: `athyper-read-${stream}`, logger, blockMilliseconds });
  const stopping = new AbortController();
  const { signal } = stopping;
  const mayRead = (): boolean => !signal.aborted && leftMilliseconds() > leastLeaseMilliseconds;
  let swept = Number.NEGATIVE_INFINITY;

  async function read(): Promise<void> {
    while (!signal.aborted) {
      try {
        if (!mayRead()) await sleep(leastLeaseMilliseconds / 3, undefined, { signal });
        else if (performance.now() - swept > sweepMilliseconds) await sweep();
        else await readOnce('>');
      } catch (error) {
        if (signal.aborted) return;
        // A Redis that lost its data has no group: it is made again, before the outbox fills the stream again.
        swept = Number.NEGATIVE_INFINITY;
        if (!isReply(error, 'NOGROUP')) logger.warn({ err: error, stream }, 'reading from Redis failed; trying again');
        await sleep(1_000, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  /** What was given to anybody and not acknowledged comes before what nobody has. */
  async function sweep(): Promise<void> {
    await ensureGroup(redis, stream);
    await takeOver(redis, stream, consumer);
    while (mayRead() && (await readOnce('0')) > 0);
    if (mayRead()) swept = performance.now();
  }

  async function readOnce(from: '0' | '>'): Promise<number> {
    const block = Math.max(1, Math.floor(Math.min(blockMilliseconds, leftMilliseconds() - leastLeaseMilliseconds)));
    const entries = await readGroup(redis, { stream, consumer, from, blockMilliseconds: block, count: readCount });
    for (const { entryId, event, unreadable } of entries) {
      if (unreadable !== undefined)
        logger.error({ stream, entryId, unreadable }, 'an entry holds no event; passed over');
      if (event !== undefined && !(await handleUntilDone(event))) {
        swept = Number.NEGATIVE_INFINITY;
        break;
      }
      await acknowledge(deps.redis, stream, entryId);
    }
    return entries.length;
  }

  /**
   * Until it works or is a dead letter: what comes after it in the partition waits. A database that is away is nobody's
   * fault and counts for nothing. @returns false where it was stopped first, or the partition is another's by now
   */
  async function handleUntilDone(event: EventRow): Promise<boolean> {
    let failures = 0;
    for (let attempt = 1; mayRead(); attempt += 1) {
      try {
        await deps.handle(deps.decode(event));
        return true;
      } catch (error) {
        if (error instanceof PermanentDeliveryError) failures = deps.mostAttempts;
        else if (!isNobodysFault(error)) failures += 1;
        const context = { err: error, ...logContextOf(event), attempt };
        logger.error(context, 'handlers failed; tried again');
        if (failures >= deps.mostAttempts && (await parked(event, error))) return true;
        const pause = Math.min(longestRetryMilliseconds, 500 * 2 ** (attempt - 1));
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    }
    return false;
  }

  async function parked(event: EventRow, cause: unknown): Promise<boolean> {
    try {
      await deps.park(event, describeError(cause));
      logger.error(logContextOf(event), 'delivery is a dead letter');
      return true;
    } catch (error) {
      logger.error({ err: error, ...logContextOf(event) }, 'a dead letter could not be written; its event is kept');
      return false;
    }
  }

  const reading = read();
  return {
    async stop() {
      stopping.abort();
      // Ends a blocking read at once; the entry it may have been given is read again by the next owner.
      await Promise.race([reading, sleep(100)]);
      redis.disconnect();
      await reading;
    },
  };
}
