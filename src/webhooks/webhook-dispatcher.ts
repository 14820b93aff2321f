// One loop that finds the endpoints with something to deliver, and a relay for each while it has.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { createHeartbeat } from '../outbox/heartbeat.ts';
import type { OutboxProcessor } from '../outbox/relay.ts';
import type { WakeUp } from '../outbox/wake-up.ts';
import type { Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import { findDueEndpoints, mendEndpointLanes, mendFromStart, type DueEndpoint } from './due-endpoints.ts';
import { removeDeliveries } from './endpoint-deliveries.ts';

export type DispatcherDeps = Readonly<{
  db: Db;
  wakeUp: WakeUp;
  logger: Logger;
  /** Its rounds are run here; it is never started. */
  relayFor: (endpoint: DueEndpoint, signal: AbortSignal) => EndpointRelay;
  /** Whose rounds may be under way at once. */
  mostEndpoints?: number;
}>;
export type EndpointRelay = Readonly<{
  relay: Pick<OutboxProcessor, 'processOutbox'>;
  /** Since it was last asked: a delivery was given back, and trying the next at once would be no better. */
  wasAway(): boolean;
}>;

/** `processOutbox`: everything that is due, to the end. @returns how many deliveries were taken on */
export type WebhookDispatcher = OutboxProcessor;

/** Those that hang take a place for 20 s a round; the others then go on in turn. */
const defaultMostEndpoints = 64;
const pollMilliseconds = 500;
/** Commits poke more often than that. */
const leastMilliseconds = 50;
/** Between two walks over all lanes, and between the steps of one. */
const mendMilliseconds = 30_000;
const mendStepMilliseconds = 1_000;
/** When it is told to stop, what receivers get to answer; the rest is given back. */
const patienceMilliseconds = 2_000;
/** What heartbeats and metrics call all endpoints together. */
export const allWebhooks = 'webhook';

export function createWebhookDispatcher(deps: DispatcherDeps): WebhookDispatcher {
  const { db, wakeUp, logger, relayFor, mostEndpoints = defaultMostEndpoints } = deps;
  const owned = { destination: allWebhooks, owner: `${process.pid}-${randomUUID()}` };
  const heartbeat = createHeartbeat(db, owned);
  const stopping = new AbortController();
  const cut = new AbortController();
  const drains = new Map<string, Promise<number>>();
  /** Of endpoints that are being drained; or whose last round did not come to its end, which it must mend. */
  const relays = new Map<string, EndpointRelay>();
  let loop: Promise<void> | undefined;
  let freed = new AbortController();
  /** Endpoints that found no place. */
  let waiting = 0;
  let lastTaken = '';
  let lastMend = Number.NEGATIVE_INFINITY;
  let mending = mendFromStart;

  const mayGoOn = (entry: EndpointRelay): boolean => !entry.wasAway() && waiting === 0 && !stopping.signal.aborted;

  /** Never rejects. */
  async function drain(endpoint: DueEndpoint): Promise<number> {
    const { destination } = endpoint;
    const entry = relays.get(destination) ?? relayFor(endpoint, cut.signal);
    relays.set(destination, entry);
    let total = 0;
    try {
      let taken = 0;
      do {
        taken = await entry.relay.processOutbox();
        total += taken;
      } while (taken > 0 && mayGoOn(entry));
      relays.delete(destination);
    } catch (error) {
      logger.error({ err: error, destination }, 'a round of webhooks failed; the loop goes on');
    }
    drains.delete(destination);
    freed.abort();
    return total;
  }

  /** Who found no place last time comes before who had one. */
  function inTurn(due: readonly DueEndpoint[]): readonly DueEndpoint[] {
    const idle = due.filter(({ destination }) => !drains.has(destination));
    const later = idle.filter(({ destination }) => destination > lastTaken);
    return [...later, ...idle.filter((each) => !later.includes(each))];
  }

  /** One that cannot be forgotten now must not hold up the others. */
  async function forget(destination: string): Promise<void> {
    try {
      await db.transaction().execute(async (tx) => await removeDeliveries(tx, destination));
    } catch (error) {
      logger.error({ err: error, destination }, 'what is left of a deleted endpoint could not be removed yet');
    }
  }

  /** Does not wait for what it begins. `drained`: how many deliveries each endpoint took. */
  async function dispatch(): Promise<Readonly<{ begun: number; drained: Promise<readonly number[]> }>> {
    const { due, gone } = await findDueEndpoints(db);
    for (const destination of gone) await forget(destination);
    const candidates = inTurn(due);
    const taken = candidates.slice(0, Math.max(0, mostEndpoints - drains.size));
    waiting = candidates.length - taken.length;
    lastTaken = taken.at(-1)?.destination ?? lastTaken;
    const draining = taken.map((endpoint) => {
      const drained = drain(endpoint);
      drains.set(endpoint.destination, drained);
      return drained;
    });
    return { begun: taken.length, drained: Promise.all(draining) };
  }

  async function processOutbox(): Promise<number> {
    let total = 0;
    for (;;) {
      const { begun, drained } = await dispatch();
      if (begun === 0) return total;
      total += (await drained).reduce((sum, count) => sum + count, 0);
    }
  }

  async function mend(): Promise<void> {
    const pause = mending === mendFromStart ? mendMilliseconds : mendStepMilliseconds;
    if (performance.now() - lastMend < pause) return;
    lastMend = performance.now();
    const { mended, next } = await mendEndpointLanes(db, mending);
    mending = next;
    if (mended > 0) logger.warn({ lanes: mended }, 'lanes of webhooks did not fit their deliveries and were woken');
  }

  async function run(): Promise<void> {
    const { signal } = stopping;
    while (!signal.aborted) {
      const mark = wakeUp.mark();
      freed = new AbortController();
      try {
        await mend();
        await dispatch();
        await heartbeat.beat();
      } catch (error) {
        logger.error({ err: error }, 'looking for webhooks failed; the loop goes on');
      }
      await sleep(leastMilliseconds, undefined, { signal }).catch(() => undefined);
      // A place that became free is news only for those that wait for one.
      const wakes = waiting > 0 ? AbortSignal.any([signal, freed.signal]) : signal;
      await wakeUp.wait(pollMilliseconds * (0.75 + Math.random() / 2), wakes, mark);
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
      const patience = setTimeout(() => cut.abort(), patienceMilliseconds);
      await Promise.all(drains.values());
      clearTimeout(patience);
    },
    loopAgeMilliseconds: () => heartbeat.ageMilliseconds(),
  };
}
