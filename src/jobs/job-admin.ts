// What an operator does about jobs: look at those that are not done, and send dead ones again.
import { sql } from 'kysely';
import { fromKysely, PgBoss } from 'pg-boss';
import type { Db } from '../platform/database.ts';
import { deadQueueOf } from './job-store.ts';

export type JobView = Readonly<{
  /** As in the log; the same through every retry and every dead letter. */
  jobId: string;
  name: string;
  state: 'pending' | 'dead';
  /** Begun, since it was added or last sent again. */
  attempts: number;
  lastError: string | null;
  data: unknown;
  correlationId: string | null;
  /** Null where it is dead or under way. */
  nextAttemptAt: Date | null;
  createdAt: Date;
}>;

/** After which job a page begins: as the database keeps it, as text, since a Date has no microseconds. */
export type JobCursor = Readonly<{ createdOn: string; id: string }>;

export type JobFilter = Readonly<{
  /** Undefined: of all tenants, for whoever runs the service. */
  tenantId: string | undefined;
  /** Undefined: both. */
  state: 'pending' | 'dead' | undefined;
  names: readonly string[];
  limit: number;
  after?: JobCursor | undefined;
}>;

/** In the order in which they were added, or died. `next` is undefined on the last page. */
export async function listJobs(
  db: Db,
  { tenantId, state, names, limit, after }: JobFilter,
): Promise<Readonly<{ jobs: readonly JobView[]; next: JobCursor | undefined }>> {
  const queues = queuesOf(names, state);
  const { rows } = await sql<JobView & JobCursor>`
    select id, created_on::text as "createdOn", coalesce(source_root_id, id) as "jobId",
      coalesce(source_name, name) as name, case when source_name is null then 'pending' else 'dead' end as state,
      case when source_name is not null then source_retry_count + 1
        when started_on is null then 0 else retry_count + 1 end as attempts,
      ${reasonOf} as "lastError", data -> 'data' as data, data -> 'metadata' ->> 'correlationId' as "correlationId",
      case when source_name is null and state < 'active' then start_after end as "nextAttemptAt",
      coalesce(source_created_on, created_on) as "createdAt"
    from pgboss.job
    where name = any(${queues}::text[]) and state < 'completed'
      and (${tenantId ?? null}::text is null or data -> 'metadata' ->> 'tenantId' = ${tenantId ?? null})
      and (${after?.id ?? null}::uuid is null or (created_on, id)
        > (${after?.createdOn ?? null}::timestamptz, ${after?.id ?? null}::uuid))
    order by created_on, id
    limit ${limit + 1}`.execute(db);
  const page = rows.slice(0, limit);
  const last = rows.length > limit ? page.at(-1) : undefined;
  return {
    jobs: page.map(({ id: _id, createdOn: _createdOn, ...view }) => view),
    next: last && { createdOn: last.createdOn, id: last.id },
  };
}

/** Ours, or what pg-boss writes where a process was gone. */
const reasonOf = sql`coalesce(
  coalesce(source_output, output) ->> 'error', coalesce(source_output, output) -> 'value' ->> 'message',
  coalesce(source_output, output) ->> 'message', coalesce(source_output, output) #>> '{}')`;

function queuesOf(names: readonly string[], state: JobFilter['state']): readonly string[] {
  const dead = names.map(deadQueueOf);
  if (state === undefined) return [...names, ...dead];
  return state === 'dead' ? dead : names;
}

export type DeadJobs = Readonly<{
  /** Undefined: of all tenants. */
  tenantId: string | undefined;
  names: readonly string[];
  /** Undefined: all of these names. */
  jobId?: string | undefined;
}>;

/** In one transaction each, so that a long list holds nobody up. */
const batchSize = 500;

/**
 * Sends dead jobs again, with their attempts from the start. One that dies again meanwhile stays dead.
 * @returns how many; 0 where there is no such dead job
 */
export async function retryDeadJobs(db: Db, { tenantId, names, jobId }: DeadJobs): Promise<number> {
  const store = new PgBoss({ db: fromKysely(db), schedule: false });
  let retried = 0;
  for (const name of names) {
    const dead = deadQueueOf(name);
    const { rows } = await sql<{ id: string }>`
      select id from pgboss.job
      where name = ${dead} and state < 'active' and (${jobId ?? null}::uuid is null or source_root_id = ${jobId ?? null}::uuid)
        and (${tenantId ?? null}::text is null or data -> 'metadata' ->> 'tenantId' = ${tenantId ?? null})
      order by created_on, id`.execute(db);
    for (let begin = 0; begin < rows.length; begin += batchSize) {
      const ids = rows.slice(begin, begin + batchSize).map(({ id }) => id);
      retried += await store.redrive(dead, { ids, limit: batchSize });
    }
  }
  return retried;
}
