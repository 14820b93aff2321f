// Enqueues jobs with pg-boss, in the caller's transaction where there is one.
import { fromKysely } from 'pg-boss';
import type { Db, Tx } from '../platform/database.ts';
import type { JobCatalogue, JobQueue } from './job-queue.ts';
import type { JobStore } from './job-store.ts';

export type JobQueueDeps<C extends JobCatalogue> = Readonly<{ store: JobStore; db: Db; catalogue: C }>;

export function createJobQueue<C extends JobCatalogue>(deps: JobQueueDeps<C>): JobQueue<C> {
  const { store, db, catalogue } = deps;

  async function addIn(tx: Tx, name: string, job: object, key: string | undefined): Promise<void> {
    if (key !== undefined && !(await takeKey(tx, name, key))) return;
    await store.send(name, job, { db: fromKysely(tx) });
  }

  return {
    async add(name, given, { tx, key, metadata = { tenantId: 'default' } } = {}) {
      if (!Object.hasOwn(catalogue, name)) throw new TypeError(`there is no job ${name}`);
      const job = { data: catalogue[name]?.schema.parse(given), metadata };
      if (tx !== undefined) await addIn(tx, name, job, key);
      else await db.transaction().execute(async (own) => await addIn(own, name, job, key));
    },
  };
}

/** The key outlives its job, which is deleted some days after it is done. @returns false where a job had it already */
async function takeKey(tx: Tx, name: string, key: string): Promise<boolean> {
  const inserted = await tx
    .insertInto('job_keys')
    .values({ name, key })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (inserted.numInsertedOrUpdatedRows ?? 0n) > 0n;
}
