// Makes the schema of the jobs and their queues, or brings them up to date. A step of `migrate`; no other role does it.
import { setTimeout as sleep } from 'node:timers/promises';
import { connectPool } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import { createJobStore, createQueues, type JobStore } from './job-store.ts';

/** Of all who install: one after the other. */
const lockKey = 4_202_611_230;
const pollMilliseconds = 200;

export type InstallJobsOptions = Readonly<{ databaseUrl: string; names: readonly string[]; logger: Logger }>;

/**
 * Any number of processes may do so at once: the others wait. What it finishes stays where it dies on the way, and the next
 * one goes on from there.
 */
export async function installJobs({ databaseUrl, names, logger }: InstallJobsOptions): Promise<void> {
  const pool = connectPool({
    url: databaseUrl,
    poolSize: 3,
    applicationName: 'athyper-migrate-jobs',
    onIdleError: (error) => logger.warn({ err: error }, 'an idle database connection was lost'),
    // An index over many jobs takes long, and somebody is watching.
    longestSilenceMilliseconds: 0,
    longestTransactionSeconds: 0,
  });
  try {
    // A lock of the session, without a transaction: none is open while indexes are built.
    const lock = await pool.connect();
    try {
      await lock.query('select pg_advisory_lock($1)', [lockKey]);
      await install(createJobStore({ pool, logger }), names);
    } finally {
      lock.release(true);
    }
  } finally {
    await pool.end();
  }
}

async function install(store: JobStore, names: readonly string[]): Promise<void> {
  await store.start();
  try {
    await createQueues(store, names);
    await untilIndexesAreBuilt(store);
  } finally {
    await store.stop({ close: false });
  }
}

/** pg-boss builds those of an upgrade one by one, beside its work. One that fails is logged, and tried again by it later. */
async function untilIndexesAreBuilt(store: JobStore): Promise<void> {
  for (;;) {
    const entries = await store.getBamStatus();
    if (!entries.some(({ status, count }) => count > 0 && (status === 'pending' || status === 'in_progress'))) return;
    await sleep(pollMilliseconds);
  }
}
