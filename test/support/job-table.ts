// A job queue that only writes down what is added, in the handler's transaction; once for each key, as the real one.
import { sql } from 'kysely';
import { jobCatalogue, type JobName } from '../../src/domain/job-catalogue.ts';
import type { ServiceJobs } from '../../src/handlers/mail-jobs.ts';
import type { Db } from '../../src/platform/database.ts';

export const tableOfJobs = sql`
  create table test_jobs (
    n serial, name text not null, key text, data jsonb not null, metadata jsonb not null, unique (name, key))`;

export type WrittenJob = Readonly<{ name: JobName; key: string | null; data: unknown; metadata: unknown }>;

/** @param db where there is no transaction */
export const createJobTable = (db: Db): ServiceJobs => ({
  async add(name, data, { tx, key, metadata } = {}) {
    const checked = JSON.stringify(jobCatalogue[name].schema.parse(data));
    await sql`
      insert into test_jobs (name, key, data, metadata)
      values (${name}, ${key ?? null}, ${checked}, ${JSON.stringify(metadata)})
      on conflict do nothing`.execute(tx ?? db);
  },
});

/** In the order in which they were added. */
export async function jobsCausedBy(db: Db, eventId: string): Promise<readonly WrittenJob[]> {
  const { rows } = await sql<WrittenJob>`
    select name, key, data, metadata from test_jobs where metadata ->> 'causationId' = ${eventId} order by n`.execute(
    db,
  );
  return rows;
}
