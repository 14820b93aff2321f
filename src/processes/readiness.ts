// What /readyz looks at in each role.
import { sql } from 'kysely';
import type { ReadinessCheck, ReadinessChecks } from '../http/health-routes.ts';
import { readLoopAges } from '../outbox/outbox-rows.ts';
import { checkTemporal } from '../platform/temporal-client.ts';
import type { Parts } from './parts.ts';
import type { RunningWorker } from './worker.ts';

/** A round waits 30 s for its slowest delivery at most, so a loop that is older than this has stopped. */
const oldestLoopMilliseconds = 45_000;
const temporalMilliseconds = 1_500;

/** The relay's loops by destination, those of the subscriptions by name, and those of the jobs by the jobs' names. */
export type Loops = Readonly<Record<string, Readonly<{ loopAgeMilliseconds(): number | undefined }>>>;

const database =
  ({ db }: Parts): ReadinessCheck =>
  async () => {
    await sql`select 1`.execute(db);
    return { ok: true };
  };

const temporal =
  ({ temporal: client, settings }: Parts): ReadinessCheck =>
  async () => {
    await checkTemporal(client, settings.temporalNamespace, temporalMilliseconds);
    return { ok: true };
  };

/** This process's own loops. */
const ownLoops =
  (loops: Loops): ReadinessCheck =>
  async () => {
    const ages = Object.entries(loops).map(([destination, loop]) => [destination, loop.loopAgeMilliseconds()] as const);
    const late = ages
      .filter(([, age]) => age === undefined || age > oldestLoopMilliseconds)
      .map(([destination]) => destination);
    const ageMilliseconds = Object.fromEntries(ages);
    if (late.length === 0) return { ok: true, ageMilliseconds };
    return { ok: false, ageMilliseconds, detail: `the loop of ${late.join(', ')} has not come round` };
  };

/** Another process's loops: shown, but no reason to take this one out of service, since it can still accept orders. */
const loopsElsewhere =
  ({ db }: Parts): ReadinessCheck =>
  async () => {
    const ages = await readLoopAges(db);
    const ageMilliseconds = Object.fromEntries(ages.map((age) => [age.destination, Math.round(age.ageSeconds * 1000)]));
    return { ok: true, ageMilliseconds, ...(ages.length === 0 ? { detail: 'no relay has run yet' } : {}) };
  };

const worker =
  ({ isPolling }: RunningWorker): ReadinessCheck =>
  async () =>
    isPolling() ? { ok: true } : { ok: false, detail: 'the worker does not poll Temporal yet' };

export const apiReadiness = (parts: Parts): ReadinessChecks => ({
  database: database(parts),
  temporal: temporal(parts),
  relay: loopsElsewhere(parts),
});

/** A read model that falls behind is shown, and is no reason to take orders elsewhere. */
const subscriptions =
  (loops: Loops): ReadinessCheck =>
  async () => ({ ...(await ownLoops(loops)()), ok: true });

/** `jobs`: undefined in a relay that leaves them to consumers. */
type RunningLoops = Readonly<{ relay: Loops; subscriptions: Loops; jobs: Loops | undefined }>;

export const allReadiness = (
  parts: Parts,
  running: RunningLoops & Readonly<{ worker: RunningWorker }>,
): ReadinessChecks => ({ ...relayReadiness(parts, running), worker: worker(running.worker) });

export const relayReadiness = (parts: Parts, running: RunningLoops): ReadinessChecks => ({
  database: database(parts),
  temporal: temporal(parts),
  relay: ownLoops(running.relay),
  subscriptions: subscriptions(running.subscriptions),
  ...(running.jobs === undefined ? {} : { jobs: ownLoops(running.jobs) }),
});

export const workerReadiness = (parts: Parts, running: RunningWorker): ReadinessChecks => ({
  database: database(parts),
  temporal: temporal(parts),
  worker: worker(running),
});

export const consumerReadiness = (
  parts: Parts,
  running: Readonly<{ bus: Readonly<{ check(): Promise<void> }>; jobs: Loops }>,
): ReadinessChecks => ({
  database: database(parts),
  redis: async () => {
    await running.bus.check();
    return { ok: true };
  },
  jobs: ownLoops(running.jobs),
});
