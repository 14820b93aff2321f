// The bus across processes, on Redis Streams: the relay adds, consumers read, handle, and acknowledge.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnavailableError } from '../domain/errors.ts';
import type { StoredEvent } from '../domain/event.ts';
import { describeError } from '../outbox/delivery.ts';
import type { Db } from '../platform/database.ts';
import { connectRedis, connectSendingRedis, type RedisConnection } from '../platform/redis.ts';
import { createEpochKeeper, type EpochKeeper } from './epoch-keeper.ts';
import type { BusTransport, EventHandler, SubscribeOptions, Unsubscribe } from './event-bus.ts';
import { createHandlerRegistry, type HandlerObserver, type HandlerRegistry } from './handler-registry.ts';
import { createPartitionLeases, type PartitionLeases } from './partition-leases.ts';
import { addEntry, type Session } from './redis-epoch.ts';
import { defaultPrefix, partitionOf, streamOf, toWire } from './redis-streams.ts';
import { startReader, type Reader, type ReaderDeps } from './stream-reader.ts';

export type RedisEventBusDeps = Pick<ReaderDeps, 'url' | 'logger' | 'decode' | 'park'> &
  Readonly<{
    db: Db;
    /** Whose deliveries this bus is given: they are put back when Redis has lost them. */
    destination: string;
    /** Then an event is a dead letter. */
    mostAttempts?: number;
    observe?: HandlerObserver;
    /** Keeps services apart that share a Redis. */
    prefix?: string;
    /** How long a consumer that was killed keeps its partitions. */
    leaseMilliseconds?: number;
    /** Entries of a partition that wait; past it Redis is given no more, and the rest waits in the outbox. */
    longestStream?: number;
  }>;

const defaultLeaseMilliseconds = 6_000;
/** With the pauses between them about two and a half minutes, in which the partition waits. */
const defaultMostAttempts = 10;
const defaultLongestStream = 10_000;

/** @throws UnavailableError where the event is not, or perhaps not, in Redis */
export type Send = (event: StoredEvent) => Promise<void>;

/**
 * At least once, in the order of each aggregate: a partition is read by one consumer, which acknowledges an event after
 * its handlers have committed. One that fails is tried again before the next, and is a dead letter when it keeps failing.
 * What Redis loses is put back into the outbox (epoch-keeper.ts).
 */
export class RedisEventBus implements BusTransport {
  readonly #deps: RedisEventBusDeps;
  readonly #prefix: string;
  readonly #leaseMilliseconds: number;
  readonly #registry: HandlerRegistry;
  readonly #redis: RedisConnection;
  readonly #stopping = new AbortController();
  readonly #consumer = `${process.pid}-${randomUUID()}`;
  readonly #delivering = new Set<Promise<void>>();
  #sending: Readonly<{ redis: RedisConnection; keeper: EpochKeeper }> | undefined;
  #consuming: Promise<void> | undefined;

  constructor(deps: RedisEventBusDeps) {
    this.#deps = deps;
    this.#prefix = deps.prefix ?? defaultPrefix;
    this.#leaseMilliseconds = deps.leaseMilliseconds ?? defaultLeaseMilliseconds;
    this.#registry = createHandlerRegistry({ db: deps.db, observe: deps.observe });
    this.#redis = connectRedis(deps.url, { name: 'athyper-bus', logger: deps.logger });
  }

  subscribe(eventType: string, handler: EventHandler, options?: SubscribeOptions): Unsubscribe {
    return this.#registry.subscribe(eventType, handler, options);
  }

  /** Resolves when Redis holds the event. @throws UnavailableError */
  async deliver(event: StoredEvent): Promise<void> {
    const send = await this.begin();
    await send(event);
  }

  /**
   * For what is claimed after this: a claim that is older than a refill must not get into the refilled Redis, where what
   * comes before it may be missing still. Never rejects; where nothing can be sent, sending says so.
   */
  async begin(): Promise<Send> {
    const session = this.#stopping.signal.aborted ? undefined : await this.#keeper().keeper.session();
    return async (event) => {
      const adding = this.#add(event, session);
      this.#delivering.add(adding);
      try {
        await adding;
      } finally {
        this.#delivering.delete(adding);
      }
    };
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
    await this.#sending?.keeper.stop();
    this.#sending?.redis.disconnect();
    this.#redis.disconnect();
  }

  /** Made at the first delivery: who only consumes has none. */
  #keeper(): Readonly<{ redis: RedisConnection; keeper: EpochKeeper }> {
    const { url, db, logger, destination } = this.#deps;
    if (this.#sending === undefined) {
      const redis = connectSendingRedis(url, { name: 'athyper-send', logger });
      const settleMilliseconds = this.#leaseMilliseconds;
      const deps = { db, redis, logger, destination, prefix: this.#prefix, settleMilliseconds };
      this.#sending = { redis, keeper: createEpochKeeper(deps) };
    }
    return this.#sending;
  }

  async #add(event: StoredEvent, session: Session | undefined): Promise<void> {
    if (this.#stopping.signal.aborted) throw new UnavailableError('this bus is closed');
    if (session === undefined) throw new UnavailableError('Redis is away, or is being filled again');
    const { redis, keeper } = this.#keeper();
    const stream = streamOf(this.#prefix, partitionOf(event.aggregateId));
    const longestStream = this.#deps.longestStream ?? defaultLongestStream;
    const entry = { stream, wire: toWire(event), session, longestStream };
    const added = await addEntry(redis, this.#prefix, entry).catch((error: unknown) => {
      throw new UnavailableError(`Redis is away: ${describeError(error)}`, { cause: error });
    });
    if (added === 'full') throw new UnavailableError(`${stream} is full: its consumers do not keep up`);
    if (added === 'stale') {
      keeper.doubt(session);
      throw new UnavailableError('Redis is not the one it was, or has lost data');
    }
  }

  /** Holds a fair share of the partitions and runs a reader for each; survives a Redis that is away. */
  async #shareWork(): Promise<void> {
    const { logger } = this.#deps;
    const leaseMilliseconds = this.#leaseMilliseconds;
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
        for (const partition of held) {
          if (!readers.has(partition)) readers.set(partition, this.#startReader(leases, partition));
        }
      } catch (error) {
        logger.warn({ err: error }, 'the bus cannot renew its partitions; trying again');
      }
      await sleep(leaseMilliseconds / 3, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
    }
    await Promise.all([...readers].map(async ([partition, reader]) => await (ending.get(partition) ?? reader.stop())));
    await leases.leave().catch(() => logger.debug('leases are left to run out'));
  }

  #startReader(leases: PartitionLeases, partition: number): Reader {
    const { url, logger, decode, park, mostAttempts = defaultMostAttempts } = this.#deps;
    const handle = async (event: StoredEvent): Promise<void> => await this.#registry.handle(event);
    return startReader(
      { url, logger, decode, park, mostAttempts, handle, redis: this.#redis, consumer: this.#consumer },
      { stream: streamOf(this.#prefix, partition), leftMilliseconds: () => leases.leftMilliseconds(partition) },
    );
  }
}
