// Keeps watch over a Redis that is delivered to: notes what is acknowledged, and has it filled again when it lost data.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnavailableError } from '../domain/errors.ts';
import {
  advanceSafeTime,
  beginEpoch,
  confirmEpoch,
  holdEpoch,
  readEpoch,
  type Hold,
  type StoredEpoch,
} from '../outbox/delivery-epochs.ts';
import { describeError } from '../outbox/delivery.ts';
import { redeliverSince } from '../outbox/redeliver-since.ts';
import type { Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import { untilReady, type RedisConnection } from '../platform/redis.ts';
import { forgetsWhenFull, giveEpoch, lookAtRedis, safeTime, type Session } from './redis-epoch.ts';
import { partitions, streamOf } from './redis-streams.ts';

export type EpochKeeper = Readonly<{
  /**
   * What may be sent under from now on; undefined where that is not known, as while Redis is filled again. Waits for the
   * first look, a moment at most. Starts the watch. Never rejects.
   */
  session(): Promise<Session | undefined>;
  /** Redis has refused that session: the next look is now. */
  doubt(session: Session): void;
  stop(): Promise<void>;
}>;

export type EpochKeeperDeps = Readonly<{
  db: Db;
  redis: RedisConnection;
  logger: Logger;
  /** Whose deliveries go to this Redis. */
  destination: string;
  prefix: string;
  /**
   * After a loss, before Redis takes anything again: by then every consumer has noticed that its partitions are nobody's
   * any more, so that no two read one of them.
   */
  settleMilliseconds: number;
}>;

const lookMilliseconds = 2_000;
/** While nothing can be sent. */
const retryMilliseconds = 500;
const firstLookMilliseconds = 2_000;

/** Any number of processes may keep watch over the same Redis: one of them fills it again. */
export function createEpochKeeper(deps: EpochKeeperDeps): EpochKeeper {
  const { db, redis, logger, destination, prefix } = deps;
  const ref = { destination, store: prefix };
  const holder = `${process.pid}-${randomUUID()}`;
  const streams = partitions.map((partition) => streamOf(prefix, partition));
  const stopping = new AbortController();
  const { signal } = stopping;
  let current: Session | undefined;
  let wake = new AbortController();
  let watching: Promise<void> | undefined;
  let trouble: string | undefined;
  const looked = Promise.withResolvers<void>();

  async function look(): Promise<void> {
    await untilReady(redis, retryMilliseconds);
    const stored = await readEpoch(db, ref);
    const seen = await lookAtRedis(redis, prefix, streams);
    if (stored.runId !== seen.runId || stored.epoch !== seen.epoch) {
      current = undefined;
      current = await begin(stored);
      return;
    }
    current = { epoch: stored.epoch, runId: seen.runId, sentAfter: stored.time };
    const safe = safeTime(stored.time, seen.oldest);
    if (safe !== undefined) await advanceSafeTime(db, ref, stored.epoch, safe);
  }

  /** Dead between any two steps: the hold runs out, and the next holder begins at the first one. */
  async function begin(stored: StoredEpoch): Promise<Session | undefined> {
    const hold: Hold = { ...ref, epoch: stored.epoch, holder };
    if (!(await holdEpoch(db, hold))) return undefined;
    // Without a run_id the epoch was never in use: nothing was sent under it, and the one before it is dealt with.
    if (stored.runId !== null) await fillAgain(hold);
    const epoch = await beginEpoch(db, hold);
    if (epoch === undefined) return undefined;
    if (await forgetsWhenFull(redis)) logger.warn('Redis forgets when it is full: set maxmemory-policy noeviction');
    const runId = await giveEpoch(redis, prefix, epoch);
    const isConfirmed = await confirmEpoch(db, { ...hold, epoch }, runId);
    return isConfirmed ? { epoch, runId, sentAfter: stored.time } : undefined;
  }

  async function fillAgain(hold: Hold): Promise<void> {
    const settled = performance.now() + deps.settleMilliseconds;
    logger.warn({ prefix }, 'Redis has lost data, or was restarted: what is not known to be handled is sent again');
    const beforeBatch = async (): Promise<void> => {
      if (signal.aborted || !(await holdEpoch(db, hold))) throw new UnavailableError('the refill of Redis is left');
    };
    const { published, claimed } = await redeliverSince(db, { ...ref, beforeBatch });
    await sleep(Math.max(0, settled - performance.now()), undefined, { signal });
    await beforeBatch();
    logger.warn({ prefix, published, claimed }, 'put back into the outbox what Redis may have lost');
  }

  /** Once for the same reason: a Redis that is away is looked for twice a second. */
  function complain(error: unknown): void {
    if (signal.aborted) return;
    const reason = describeError(error);
    if (reason !== trouble) logger.warn({ err: error }, 'the state of Redis is not known; looking again and again');
    trouble = reason;
  }

  async function watch(): Promise<void> {
    while (!signal.aborted) {
      wake = new AbortController();
      await look().then(() => (trouble = undefined), complain);
      looked.resolve();
      const pause = current === undefined ? retryMilliseconds : lookMilliseconds;
      await sleep(pause, undefined, { signal: wake.signal }).catch(() => undefined);
    }
    current = undefined;
  }

  return {
    async session() {
      if (signal.aborted) return undefined;
      watching ??= watch();
      if (current === undefined)
        await Promise.race([looked.promise, sleep(firstLookMilliseconds, undefined, { ref: false })]);
      return current;
    },
    doubt(session) {
      if (current?.epoch !== session.epoch) return;
      current = undefined;
      wake.abort();
    },
    async stop() {
      stopping.abort();
      wake.abort();
      await watching;
    },
  };
}
