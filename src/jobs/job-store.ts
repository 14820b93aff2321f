// pg-boss as the jobs use it: its schema `pgboss` in our database, its queues, and how they behave.
import { PgBoss, type Db as BossDb, type Queue } from 'pg-boss';
import manifest from 'pg-boss/package.json' with { type: 'json' };
import type { Pool } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';

/** Whoever holds it enqueues, runs, lists or sends again. Nothing is asked of the database before it is used. */
export type JobStore = PgBoss;

/** What a handler gets; then the attempt has failed and its signal is aborted. A delivery to a handler has as much. */
export const defaultLimitSeconds = 30;
/** A job whose process is gone is missed after this, at most one look later, and comes again a second or two after that. */
const heartbeatSeconds = 15;
const lookEverySeconds = 10;
const day = 86_400;

/**
 * Attempts that fail by the job's own fault; then it is a dead letter. The first come within seconds (1-2 s, 2-4 s, 4-8 s,
 * each twice the one before, with jitter), so what was a hiccup delays nobody; then every quarter of an hour, so that the
 * whole takes four hours and somebody may mend the cause meanwhile. An attempt that finds the other side away is none.
 */
export const mostFaults = 25;
const longestDelaySeconds = 900;
/** More than faults ever use: what is handed back, or was under way when its process died, is never the last either. */
export const mostAttempts = 2 * mostFaults;

const forever = 3_650 * day;
const queueSettings: Omit<Queue, 'name'> = {
  retryLimit: mostAttempts,
  retryDelay: 1,
  retryBackoff: true,
  retryDelayMax: longestDelaySeconds,
  heartbeatSeconds,
  // Only for a process that lives and has lost hold of a job: ours gives up on a handler before.
  expireInSeconds: 2 * defaultLimitSeconds,
  // pg-boss deletes also what waits, or is dead, once it is old enough. Nothing is dropped in silence here.
  retentionSeconds: forever,
  // As long as deliveries are kept that are done.
  deleteAfterSeconds: 3 * day,
};

const deadSuffix = '.dead';
/** Each queue has its own dead letters. */
export const deadQueueOf = (name: string): string => `${name}${deadSuffix}`;

/**
 * Does not own the pool. `error` events are logged: pg-boss goes on by itself when the database is back.
 */
export function createJobStore({ pool, logger }: Readonly<{ pool: Pool; logger: Logger }>): JobStore {
  const store = new PgBoss({
    db: overPool(pool),
    // Looks, not guarantees: any number of processes may take them, each look is taken by one.
    superviseIntervalSeconds: lookEverySeconds,
    monitorIntervalSeconds: lookEverySeconds,
    maintenanceIntervalSeconds: 3_600,
    bamIntervalSeconds: 10,
    // Parts of pg-boss that are not used.
    schedule: false,
    reindex: false,
    flowIntervalSeconds: 3_600,
    registerInstance: false,
    openTelemetry: { enabled: false },
  });
  store.on('error', (error) => logger.warn({ err: error }, 'the job store has had an error; it goes on'));
  store.on('warning', ({ message, data }) => logger.warn({ data }, message));
  return store;
}

/** Its multi-statement texts bring one result each. */
function overPool(pool: Pool): BossDb {
  return {
    async executeSql(text, values) {
      const result: unknown = await pool.query(text, values);
      const results = (Array.isArray(result) ? result : [result]) as readonly Readonly<{ rows: unknown[] }>[];
      return { rows: results.flatMap(({ rows }) => rows) };
    },
  };
}

/** Whether its schema is there, and no older than this code. A newer one is the next release's, and serves this one too. */
export async function isInstalled(store: JobStore): Promise<boolean> {
  if (!(await store.isInstalled())) return false;
  const version = await store.schemaVersion();
  return version !== null && version >= manifest.pgboss.schema;
}

/** A queue and its dead letters for each job, with today's settings. Repeating it is harmless. */
export async function createQueues(store: JobStore, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const dead = deadQueueOf(name);
    await keepQueue(store, dead, queueSettings);
    await keepQueue(store, name, { ...queueSettings, deadLetter: dead });
  }
}

/** What is there would keep its settings, of an older release perhaps, unless it is told otherwise. */
async function keepQueue(store: JobStore, name: string, settings: Omit<Queue, 'name'>): Promise<void> {
  await store.createQueue(name, settings);
  await store.updateQueue(name, settings);
}
