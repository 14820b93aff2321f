// The bus across processes, on Redis Streams: the relay adds, consumers read, handle, and acknowledge.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnavailableError } from '../domain/errors.ts';
import type { StoredEvent } from '../domain/event.ts';
import { describeError, logContextOf } from '../outbox/delivery.ts';
import { isDatabaseUnavailable, type Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import type { EventRow } from '../platform/schema.ts';
import { connectBlockingRedis, connectRedis, type RedisConnection } from '../platform/redis.ts';
import type { BusTransport, EventHandler, SubscribeOptions, Unsubscribe } from './event-bus.ts';
import { createHandlerRegistry, type HandlerObserver, type HandlerRegistry } from './handler-registry.ts';
import { createPartitionLeases } from './partition-leases.ts';
import { acknowledge, addToStream, ensureGroup, isReply, readGroup, streamOf, takeOver } from './redis-streams.ts';

export type RedisEventBusDeps = Readonly<{
  url: string;
  db: Db;
  logger: Logger;
  /** Validates what comes out of the stream, as the log does. */
  decode: (event: EventRow) => StoredEvent;
  /** Makes a dead letter of an event whose handlers keep failing; it is acknowledged after that. */
  park: (event: EventRow, error: string) => Promise<void>;
  /** Then it is one. */
  mostAttempts?: number;
  observe?: HandlerObserver;
  /** Keeps services apart that share a Redis. */
  prefix?: string;
  /** How long a consumer that was killed keeps its partitions. */
  leaseMilliseconds?: number;
}>;

const defaultLeaseMilliseconds = 6_000;
/** With the pauses between them about two and a half minutes, in which the partition waits. */
const defaultMostAttempts = 10;
const blockMilliseconds = 2_000;
const readCount = 50;
const longestRetryMilliseconds = 30_000;

/**
 * At least once, in the order of each aggregate: a partition is read by one consumer, which acknowledges an event after
 * its handlers have committed. One that fails is tried again before the next, and is a dead letter when it keeps failing.
 */
export class RedisEventBus implements BusTransport {
  readonly #deps: RedisEventBusDeps;
  readonly #prefix: string;
  readonly #registry: HandlerRegistry;
  readonly #redis: RedisConnection;
  readonly #stopping = new AbortController();
  readonly #consumer = `${process.pid}-${randomUUID()}`;
  readonly #delivering = new Set<Promise<void>>();
  #consuming: Promise<void> | undefined;

  constructor(deps: RedisEventBusDeps) {
    this.#deps = deps;
    this.#prefix = deps.prefix ?? 'athyper';
    this.#registry = createHandlerRegistry({ db: deps.db, observe: deps.observe });
    this.#redis = connectRedis(deps.url, { name: 'athyper-bus', logger: deps.logger });
  }

  subscribe(eventType: string, handler: EventHandler, options?: SubscribeOptions): Unsubscribe {
    return this.#registry.subscribe(eventType, handler, options);
  }

  /** Resolves when Redis holds the event. @throws UnavailableError where it does not answer */
  async deliver(event: StoredEvent): Promise<void> {
    const adding = addToStream(this.#redis, this.#prefix, event);
    this.#delivering.add(adding);
    try {
      await adding;
    } catch (error) {
      throw new UnavailableError(`Redis is away: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    } finally {
      this.#delivering.delete(adding);
    }
  }

  /** @throws where Redis does not answer */
  async check(): Promise<void> {
    await this.#redis.ping();
  }

  /** Reads and handles until `close`. Register the handlers first. */
  consume(): void {
    this.#consuming ??= this.#shareWork();
  }

  /** Waits for what is under way; what was read and not handled is left to the next reader of its partition. */
  async close(): Promise<void> {
    this.#stopping.abort();
    await this.#consuming;
    await Promise.allSettled(this.#delivering);
    this.#redis.disconnect();
  }

  /** Holds a fair share of the partitions and runs a reader for each; survives a Redis that is away. */
  async #shareWork(): Promise<void> {
    const { logger } = this.#deps;
    const leaseMilliseconds = this.#deps.leaseMilliseconds ?? defaultLeaseMilliseconds;
    const leases = createPartitionLeases(this.#redis, {
      prefix: this.#prefix,
      consumer: this.#consumer,
      leaseMilliseconds,
    });
    const readers = new Map<number, Reader>();
    const ending = new Map<number, Promise<void>>();
    // Not awaited by the loop: while a slow handler ends, the leases of the other partitions are renewed.
    const end = async (partition: number, reader: Reader): Promise<void> => {
      await reader.stop();
      await leases.release(partition).catch(() => logger.debug({ partition }, 'a lease is left to run out'));
      readers.delete(partition);
      ending.delete(partition);
    };
    while (!this.#stopping.signal.aborted) {
      try {
        const held = await leases.renew();
        for (const [partition, reader] of readers) {
          if (!held.has(partition) && !ending.has(partition)) ending.set(partition, end(partition, reader));
        }
        for (const partition of held) if (!readers.has(partition)) readers.set(partition, this.#startReader(partition));
      } catch (error) {
        logger.warn({ err: error }, 'the bus cannot renew its partitions; trying again');
      }
      await sleep(leaseMilliseconds / 3, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
    await Promise.all([...readers].map(async ([partition, reader]) => await (ending.get(partition) ?? reader.stop())));
    await leases.leave().catch(() => logger.debug('leases are left to run out'));
  }

  #startReader(partition: number): Reader {
    const { url, logger } = this.#deps;
    const stream = streamOf(this.#prefix, partition);
    const redis = connectBlockingRedis(url, { name: `athyper-read-${partition}`, logger, blockMilliseconds });
    const stopping = new AbortController();
    const reading = this.#read(redis, stream, stopping.signal);
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

  async #read(redis: RedisConnection, stream: string, signal: AbortSignal): Promise<void> {
    let taken = false;
    while (!signal.aborted) {
      try {
        if (!taken) {
          await ensureGroup(redis, stream);
          await takeOver(redis, stream, this.#consumer);
          taken = true;
          for (;;) {
            const left = await this.#readOnce(redis, stream, '0', signal);
            if (left === 0 || signal.aborted) break;
          }
        }
        await this.#readOnce(redis, stream, '>', signal);
      } catch (error) {
        if (signal.aborted) return;
        // A Redis that lost its data has no group: it is made again, for what is added from then on.
        taken = false;
        if (!isReply(error, 'NOGROUP'))
          this.#deps.logger.warn({ err: error, stream }, 'reading from Redis failed; trying again');
        await sleep(1_000, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  async #readOnce(redis: RedisConnection, stream: string, from: '0' | '>', signal: AbortSignal): Promise<number> {
    const entries = await readGroup(redis, {
      stream,
      consumer: this.#consumer,
      from,
      blockMilliseconds,
      count: readCount,
    });
    for (const entry of entries) {
      if (entry.event !== undefined && !(await this.#handle(entry.event, signal))) break;
      await acknowledge(this.#redis, stream, entry.entryId);
    }
    return entries.length;
  }

  /**
   * Until it works or is a dead letter: what comes after it in the partition waits. A database that is away is nobody's
   * fault and counts for nothing. @returns false where stopped first
   */
  async #handle(event: EventRow, signal: AbortSignal): Promise<boolean> {
    const { logger, mostAttempts = defaultMostAttempts } = this.#deps;
    let failures = 0;
    for (let attempt = 1; !signal.aborted; attempt += 1) {
      try {
        await this.#registry.handle(this.#deps.decode(event));
        return true;
      } catch (error) {
        if (!isNobodysFault(error)) failures += 1;
        const context = { err: error, ...logContextOf(event), attempt };
        logger.error(context, 'handlers failed; tried again');
        if (failures >= mostAttempts && (await this.#parked(event, error))) return true;
        const pause = Math.min(longestRetryMilliseconds, 500 * 2 ** (attempt - 1));
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    }
    return false;
  }

  async #parked(event: EventRow, cause: unknown): Promise<boolean> {
    const { logger, park } = this.#deps;
    try {
      await park(event, describeError(cause));
      logger.error(logContextOf(event), 'delivery is a dead letter');
      return true;
    } catch (error) {
      logger.error({ err: error, ...logContextOf(event) }, 'a dead letter could not be written; its event is kept');
      return false;
    }
  }
}

const isNobodysFault = (error: unknown): boolean =>
  error instanceof AggregateError ? error.errors.every(isDatabaseUnavailable) : isDatabaseUnavailable(error);

type Reader = Readonly<{ stop(): Promise<void> }>;
