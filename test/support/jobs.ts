// Jobs on a database of their own, with a catalogue of errands instead of mail: src/jobs knows none.
import { sql } from 'kysely';
import { z } from 'zod';
import type { JobCatalogue, JobQueue } from '../../src/jobs/job-queue.ts';
import { createJobStore, createQueues, deadQueueOf, type JobStore } from '../../src/jobs/job-store.ts';
import { startJobWorkers, type JobWorkersDeps, type RunningJobWorkers } from '../../src/jobs/job-workers.ts';
import { createJobQueue } from '../../src/jobs/pg-boss-job-queue.ts';
import type { JobHandlers, JobOutcome } from '../../src/jobs/run-job.ts';
import { connectDatabase, connectPool, type Db } from '../../src/platform/database.ts';
import { createTestDatabase } from './database.ts';
import { createLogBook, type LogBook } from './event-log.ts';

export const errands = {
  errand: { schema: z.object({ subject: z.string() }) },
  chore: { schema: z.object({ subject: z.string() }) },
} as const satisfies JobCatalogue;
export type ErrandHandlers = JobHandlers<typeof errands>;

export type JobsUnderTest = Readonly<{
  url: string;
  db: Db;
  store: JobStore;
  queue: JobQueue<typeof errands>;
  log: LogBook;
  /** What became of each attempt, in its order. */
  outcomes: readonly JobOutcome[];
  start(
    handlers: Partial<ErrandHandlers>,
    options?: Partial<Pick<JobWorkersDeps<typeof errands>, 'concurrency' | 'limitSeconds' | 'graceSeconds'>>,
  ): RunningJobWorkers;
  stop(): Promise<void>;
}>;

/** A process' view of the jobs of a database that is there, and stays. */
export function openJobs(url: string): JobsUnderTest {
  const options = { url, applicationName: 'test', onIdleError: () => undefined };
  const db = connectDatabase({ ...options, poolSize: 5 });
  const pool = connectPool({ ...options, poolSize: 4 });
  const log = createLogBook();
  const { logger } = log;
  const store = createJobStore({ pool, logger });
  const outcomes: JobOutcome[] = [];
  const running: RunningJobWorkers[] = [];
  return {
    url,
    db,
    store,
    queue: createJobQueue({ store, db, catalogue: errands }),
    log,
    outcomes,
    start(handlers, limits = {}) {
      const workers = startJobWorkers({
        store,
        catalogue: errands,
        handlers,
        logger,
        observe: ({ outcome }) => void outcomes.push(outcome),
        graceSeconds: 10,
        ...limits,
      });
      running.push(workers);
      return workers;
    },
    async stop() {
      for (const workers of running) await workers.stop();
      await pool.end();
      await db.destroy();
    },
  };
}

/** The queues of the errands, where jobs are installed already. */
export const createErrandQueues = async ({ store }: JobsUnderTest): Promise<void> =>
  await createQueues(store, Object.keys(errands));

export async function startJobs(): Promise<JobsUnderTest> {
  const database = await createTestDatabase();
  const jobs = openJobs(database.url);
  await createErrandQueues(jobs);
  return {
    ...jobs,
    async stop() {
      await jobs.stop();
      await database.drop();
    },
  };
}

type StoredJob = Readonly<{ id: string; state: string; data: { data: unknown; metadata: unknown }; attempts: number }>;

/** As they are stored, in the order of adding. */
export async function storedJobs({ db }: Pick<JobsUnderTest, 'db'>, name: string): Promise<readonly StoredJob[]> {
  const { rows } = await sql<StoredJob>`
    select id, state::text as state, data, retry_count + 1 as attempts
    from pgboss.job where name = ${name} order by created_on, id`.execute(db);
  return rows;
}

export const deadJobs = async (jobs: Pick<JobsUnderTest, 'db'>, name: string): Promise<readonly StoredJob[]> =>
  await storedJobs(jobs, deadQueueOf(name));

/** Instead of waiting for the back-off. Not between the two statements that give an attempt back: back-off keeps claims out there. */
export async function dueNow({ db }: Pick<JobsUnderTest, 'db'>): Promise<void> {
  await sql`update pgboss.job set start_after = now() where state = 'retry' and retry_limit >= retry_count + 2`.execute(
    db,
  );
}
