// How far behind the readers of the log are kept, and by whom: every transaction that has written something and has not
// ended, in any database of the cluster, hides what was appended after it.
import { sql } from 'kysely';
import type { Queryable } from '../platform/database.ts';

export type LogHorizon = Readonly<{
  /** Age of the transaction that holds the readers back, or of the first event that they cannot see yet. */
  lagSeconds: number;
  /** Age of the oldest transaction that holds an xid, prepared ones too. */
  oldestXidSeconds: number;
}>;

/**
 * Other roles' transactions are seen by a superuser, or a member of pg_read_all_stats, only. Without that, a transaction
 * of theirs shows by the events that it hides.
 */
export async function readLogHorizon(db: Queryable): Promise<LogHorizon> {
  const { rows } = await sql<LogHorizon>`
    with holders as (
      select backend_xid as xid, xact_start as since from pg_stat_activity where backend_xid is not null
      union all
      select transaction, prepared from pg_prepared_xacts
    ),
    horizon as (select pg_snapshot_xmin(pg_current_snapshot()) as xmin),
    hidden as (
      select created_at as since from events where ordering_xid >= pg_snapshot_xmin(pg_current_snapshot())
      order by ordering_xid, events.position limit 1
    )
    select coalesce(extract(epoch from clock_timestamp() - least(
             (select since from holders, horizon where holders.xid = horizon.xmin::xid), (select since from hidden)
           )), 0)::float8 as "lagSeconds",
           coalesce(extract(epoch from clock_timestamp() - (select min(since) from holders)), 0)::float8
             as "oldestXidSeconds"`.execute(db);
  return rows[0] ?? { lagSeconds: 0, oldestXidSeconds: 0 };
}
