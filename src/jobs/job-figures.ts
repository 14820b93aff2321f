// What is the case among the jobs, in numbers.
import { sql } from 'kysely';
import type { Queryable } from '../platform/database.ts';
import { deadQueueOf } from './job-store.ts';

export type JobFigures = Readonly<{
  name: string;
  /** Wait or are under way. */
  pending: number;
  /** Of the oldest of them; 0 where there is none. */
  oldestPendingSeconds: number;
  dead: number;
}>;

/** One for each name, in their order. */
export async function readJobFigures(db: Queryable, names: readonly string[]): Promise<readonly JobFigures[]> {
  const { rows } = await sql<JobFigures>`
    select given.name, live.pending, live."oldestPendingSeconds", buried.dead
    from unnest(${names}::text[], ${names.map(deadQueueOf)}::text[]) with ordinality as given (name, dead_name, place)
      cross join lateral (
        select count(*)::int as pending,
          coalesce(extract(epoch from now() - min(created_on)), 0)::float as "oldestPendingSeconds"
        from pgboss.job where job.name = given.name and state < 'completed') live
      cross join lateral (
        select count(*)::int as dead from pgboss.job where job.name = given.dead_name and state < 'completed') buried
    order by place`.execute(db);
  return rows;
}
