// One loop per destination: claim under a lease, deliver with no transaction open, complete.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { UnavailableError } from '../domain/errors.ts';
import type { StoredEvent } from '../domain/event.ts';
import type { Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import { deliverySeconds, leaseSeconds } from './delivery-limits.ts';
import {
  defaultBackoff,
  describeError,
  DestinationMisconfiguredError,
  logContextOf,
  PermanentDeliveryError,
  RetryAfterError,
  type Deliver,
  type Delivery,
  type DestinationPolicy,
} from './delivery.ts';
import { createHeartbeat } from './heartbeat.ts';
import {
  claimDeliveries,
  completeDeliveries,
  giveBack,
  recordFailure,
  releaseClaims,
  type ClaimedRow,
} from './outbox-rows.ts';
import { mendLanes } from './lanes.ts';
import type { WakeUp } from './wake-up.ts';

export type OutboxProcessor = Readonly<{
  /** One round: claims, delivers, completes. @returns how many deliveries it took on; 0 means there is nothing due. */
  processOutbox(): Promise<number>;
  /** Rounds for ever, woken by commits and by polling. */
  start(): void;
  /** Claims no more and waits for what is under way. */
  stop(): Promise<void>;
  /** Since the loop last came round; undefined where it does not run. */
  loopAgeMilliseconds(): number | undefined;
}>;

/** Told of what happens, for metrics. Must not throw. */
export type RelayObserver = Readonly<{
  attempted(outcome: 'done' | 'wait' | 'away' | 'failed' | 'dead', seconds: number): void;
  leasesLost(count: number): void;
}>;
const nobody: RelayObserver = { attempted: () => undefined, leasesLost: () => undefined };

export type RelayDeps<E = StoredEvent> = Readonly<{
  db: Db;
  policy: DestinationPolicy<E>;
  decode: (row: ClaimedRow) => E;
  wakeUp: WakeUp;
  logger: Logger;
  observe?: RelayObserver;
}>;

const deliveryTimeoutMilliseconds = deliverySeconds * 1000;
/** The guarantee when every poke is lost. */
const pollMilliseconds = 500;
/** How often lanes are compared with their rows, and how many at once. */
const mendMilliseconds = 10_000;
const lanesPerWalk = 1_000;
const longestPauseMilliseconds = 10_000;

type Result = Readonly<{ row: ClaimedRow }> &
  (
    | Readonly<{ kind: 'done' }>
    | Readonly<{ kind: 'wait'; reason: string; milliseconds: number }>
    | Readonly<{ kind: 'away'; reason: string; misconfigured: boolean }>
    | Readonly<{ kind: 'dead'; error: string }>
    | Readonly<{ kind: 'failed'; error: string; retryInMilliseconds: number }>
  );

export function createRelay<E = StoredEvent>(deps: RelayDeps<E>): OutboxProcessor {
  const { db, policy, wakeUp, logger, observe = nobody } = deps;
  const owned = { destination: policy.destination, owner: `${process.pid}-${randomUUID()}` };
  const heartbeat = createHeartbeat(db, owned);
  const blockedByDead = policy.afterDeadLetter === 'block';
  const stopping = new AbortController();
  let loop: Promise<void> | undefined;
  let lastWalk = Number.NEGATIVE_INFINITY;
  let walked = '';
  /** The last round did not come to its end: what it had claimed is delivered again. */
  let unrecorded = false;
  /** Rounds in a row that found the destination away; 0 means that it answers. */
  let awayRounds = 0;

  async function processOutbox(): Promise<number> {
    if (unrecorded) await releaseClaims(db, owned);
    unrecorded = false;
    try {
      return await round();
    } catch (error) {
      unrecorded = true;
      throw error;
    }
  }

  async function round(): Promise<number> {
    const deliver = (await policy.begin?.()) ?? policy.deliver;
    const rows = await claimDeliveries(db, {
      ...owned,
      // While the destination is away one delivery asks whether it is back; the others wait unclaimed.
      limit: awayRounds > 0 ? 1 : policy.concurrency,
      leaseSeconds,
      blockedByDead,
    });
    if (rows.length === 0) return 0;
    const results = await Promise.all(rows.map(async (row) => await observed(deliver, row)));
    noteAway(results.find((result) => result.kind === 'away'));
    await record(results);
    return rows.length;
  }

  async function observed(deliver: Deliver<E>, row: ClaimedRow): Promise<Result> {
    const begun = performance.now();
    const result = await attempt(deps, deliver, row);
    observe.attempted(result.kind, (performance.now() - begun) / 1000);
    return result;
  }

  /** A destination that is away comes back by itself; one that is misconfigured is said again until it is mended. */
  function noteAway(away: Extract<Result, { kind: 'away' }> | undefined): void {
    if (away === undefined) {
      if (awayRounds > 0) logger.info('the destination answers again');
      awayRounds = 0;
      return;
    }
    const { reason, misconfigured } = away;
    if (misconfigured) logger.error({ reason }, 'the destination is misconfigured: it is paused until that is mended');
    else if (awayRounds === 0) logger.warn({ reason }, 'the destination is away and paused');
    awayRounds += 1;
  }

  async function record(results: readonly Result[]): Promise<void> {
    const done = results.filter((result) => result.kind === 'done').map((result) => result.row.id);
    const completed = await completeDeliveries(db, owned, done);
    if (completed < done.length) {
      observe.leasesLost(done.length - completed);
      logger.warn({ lost: done.length - completed }, 'a lease was lost; its delivery comes again');
    }
    for (const result of results) {
      const { row } = result;
      if (result.kind === 'wait') await giveBack(db, owned, [row.id], result);
      if (result.kind === 'away') await giveBack(db, owned, [row.id], { reason: result.reason, milliseconds: 0 });
      if (result.kind === 'failed' || result.kind === 'dead') {
        const dead = result.kind === 'dead';
        const retryInMilliseconds = result.kind === 'dead' ? undefined : result.retryInMilliseconds;
        await recordFailure(db, owned, row.id, { error: result.error, retryInMilliseconds });
        const context = { ...logContextOf(row), attempts: row.attempts, error: result.error };
        if (dead) logger.error(context, 'delivery is a dead letter');
        else logger.warn(context, 'delivery failed and is retried');
      }
    }
  }

  /** Also at the start: a version before this one may have appended without lanes. */
  async function mend(): Promise<void> {
    if (performance.now() - lastWalk < mendMilliseconds) return;
    lastWalk = performance.now();
    const { mended, next } = await mendLanes(db, { ...owned, blockedByDead, after: walked, limit: lanesPerWalk });
    walked = next;
    if (mended > 0) logger.warn({ lanes: mended }, 'lanes did not fit their deliveries and were woken');
  }

  /** The pause, or until the destination is seen to be back. */
  async function sitOut(milliseconds: number): Promise<void> {
    const over = new AbortController();
    const signal = AbortSignal.any([stopping.signal, over.signal]);
    const paused = pause(milliseconds, signal);
    await Promise.race(policy.untilBack === undefined ? [paused] : [paused, policy.untilBack(signal)]);
    over.abort();
  }

  async function run(): Promise<void> {
    let failures = 0;
    while (!stopping.signal.aborted) {
      let taken = 0;
      const mark = wakeUp.mark();
      try {
        await mend();
        taken = await processOutbox();
        await heartbeat.beat();
        failures = 0;
      } catch (error) {
        failures += 1;
        logger.error({ err: error }, 'relay round failed; the loop goes on');
      }
      if (failures > 0) await pause(awayPause(failures), stopping.signal);
      else if (awayRounds > 0) await sitOut(awayPause(awayRounds));
      else if (taken === 0) await wakeUp.wait(pollMilliseconds * (0.75 + Math.random() / 2), stopping.signal, mark);
    }
  }

  return {
    processOutbox,
    start() {
      loop ??= run();
    },
    async stop() {
      stopping.abort();
      await loop;
    },
    loopAgeMilliseconds: () => heartbeat.ageMilliseconds(),
  };
}

async function attempt<E>({ policy, decode }: RelayDeps<E>, deliver: Deliver<E>, row: ClaimedRow): Promise<Result> {
  if (row.attempts > policy.mostAttempts) {
    // Each attempt ended without a word, as when a delivery kills its process: not tried once more.
    return { row, kind: 'dead', error: `no attempt of ${policy.mostAttempts} came to an end` };
  }
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => timeout.reject(new Error(`no answer within ${deliveryTimeoutMilliseconds} ms`)),
    deliveryTimeoutMilliseconds,
  );
  try {
    const delivery: Delivery<E> = { event: decode(row), attempts: row.attempts, redelivered: row.redelivered };
    return { row, ...(await Promise.race([deliver(delivery), timeout.promise])) };
  } catch (error) {
    if (error instanceof UnavailableError) {
      const misconfigured = error instanceof DestinationMisconfiguredError;
      return { row, kind: 'away', reason: describeError(error), misconfigured };
    }
    const isLast = error instanceof PermanentDeliveryError || row.attempts >= policy.mostAttempts;
    const failure = { row, error: describeError(error) };
    return isLast
      ? { ...failure, kind: 'dead' }
      : { ...failure, kind: 'failed', retryInMilliseconds: retryIn(policy, row.attempts, error) };
  } finally {
    clearTimeout(timer);
  }
}

type Retries = Pick<DestinationPolicy, 'backoff'>;
function retryIn({ backoff = defaultBackoff }: Retries, attempts: number, error: unknown): number {
  const wanted = error instanceof RetryAfterError ? error.milliseconds : 0;
  if (typeof backoff === 'function') return Math.max(wanted, backoff(attempts));
  // Full jitter between 0 and the doubled range, so that many failures do not come back together.
  const { baseMilliseconds, longestMilliseconds } = backoff;
  return Math.max(wanted, Math.random() * Math.min(longestMilliseconds, baseMilliseconds * 2 ** (attempts - 1)));
}

const awayPause = (rounds: number): number => Math.min(longestPauseMilliseconds, 1_000 * 2 ** (rounds - 1));

/** Unlike a wait for work this is not cut short by a poke: new work does not bring a destination back. */
async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => undefined);
}
