// A lane is one aggregate's deliveries to one destination, and its row the lock and the alarm clock of them.
//
// The rows of the outbox are the truth; the lane only says when to look at them. So that it is right at every moment:
// - Who changes rows of a lane locks the lane first and adds one to `changes`, in the same transaction.
// - A statement reads rows by its snapshot, which may be older than its lock. It goes on only where `changes` is in the
//   locked version (PostgreSQL locks the newest) what it is in the snapshot: then the snapshot's rows are the newest, too.
// - A statement over several lanes waits for none (SKIP LOCKED); what it skipped is done lane by lane, each in a
//   transaction that holds and awaits that one lock. So the relays are in no circle of locks, whatever order business
//   transactions append in. An append locks its stream and then its lanes by destination.
// - What is not known is due now: too early costs one look, too late would be a delivery that is stuck.
import { sql, type RawBuilder } from 'kysely';
import type { Db, Queryable } from '../platform/database.ts';

/**
 * Two CTEs: `locked`, and of those in `held` the lanes whose rows the snapshot shows as they are.
 * @param wanted condition on `lane`, with order and limit where there are any
 */
export function holdLanes(destination: string, wanted: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`
    locked as materialized (
      select lane.aggregate_id, lane.changes from outbox_lanes lane
      where lane.destination = ${destination} and ${wanted}
      for update skip locked
    ),
    held as materialized (
      select locked.aggregate_id from locked
      join outbox_lanes seen on seen.destination = ${destination} and seen.aggregate_id = locked.aggregate_id
        and seen.changes = locked.changes
    )`;
}

/**
 * What can go next in a lane and when (`ready`; infinity behind a dead letter): its first pending delivery, and each
 * that was sent again past its place, the earliest `limit + 1` of them. `orphaned`: the last attempt has not told how it
 * ended; once it is ready, its lease has run out.
 */
export function candidatesOf(
  lane: RawBuilder<unknown>,
  { destination, blockedByDead, limit }: Readonly<{ destination: string; blockedByDead: boolean; limit: number }>,
): RawBuilder<unknown> {
  const inLane = sql`o.destination = ${destination} and o.aggregate_id = ${lane}`;
  const blocked = sql`exists (
    select from outbox o where ${inLane} and not o.published and o.state = 'dead' and o.version < head.version)`;
  return sql`
    (select o.id, greatest(o.next_attempt_at, o.locked_until) as ready, o.locked_until is not null as orphaned
      from outbox o
      where ${inLane} and o.redelivered and o.state = 'pending'
      order by greatest(o.next_attempt_at, o.locked_until)
      limit ${limit + 1})
    union all
    (select head.id,
        case when ${blockedByDead ? blocked : sql`false`} then 'infinity'
          else greatest(head.next_attempt_at, head.locked_until) end,
        head.locked_until is not null
      from (
        select o.id, o.version, o.next_attempt_at, o.locked_until, o.redelivered from outbox o
        where ${inLane} and not o.published and o.state = 'pending'
        order by o.version
        limit 1) head
      where not head.redelivered)`;
}

/** `after`: something else is undone in the lane, so look now; otherwise it is empty. */
export const dueForTheRest = sql`case when exists (
  select from outbox rest where rest.destination = lane.destination and rest.aggregate_id = lane.aggregate_id
    and not rest.published and rest.id not in (select id from matching)) then now() end`;

/** What was due earlier still is. */
export const dueIn = (milliseconds: number): RawBuilder<unknown> =>
  sql`least(coalesce(lane.due_at, now()), now() + make_interval(secs => ${milliseconds / 1000}))`;

export type RowChange = Readonly<{
  destination: string;
  /** Condition on `outbox`; the change makes it false. */
  where: RawBuilder<unknown>;
  set: RawBuilder<unknown>;
  /** The lane's `due_at` after it; sees `lane` as it was, and `matching`. */
  due: RawBuilder<unknown>;
}>;

/** Changes rows and their lanes together. @returns how many rows */
export async function changeRows(db: Db, change: RowChange): Promise<number> {
  const first = await changeFreeLanes(db, change);
  let changed = first.changed;
  for (const aggregateId of first.left) {
    changed += await db.transaction().execute(async (tx) => {
      // Waits for the lane, and makes it where it is missing. The next statement has a new snapshot.
      await sql`
        insert into outbox_lanes as lane (destination, aggregate_id, due_at)
        values (${change.destination}, ${aggregateId}, now())
        on conflict (destination, aggregate_id) do update set changes = lane.changes`.execute(tx);
      const where = sql`outbox.aggregate_id = ${aggregateId} and ${change.where}`;
      return (await changeFreeLanes(tx, { ...change, where })).changed;
    });
  }
  return changed;
}

type Changed = Readonly<{ changed: number; left: readonly string[] }>;

async function changeFreeLanes(db: Queryable, { destination, where, set, due }: RowChange): Promise<Changed> {
  const { rows } = await sql<Changed>`
    with matching as materialized (
      select outbox.id, outbox.aggregate_id from outbox where outbox.destination = ${destination} and ${where}
    ),
    ${holdLanes(destination, sql`lane.aggregate_id in (select aggregate_id from matching)`)},
    changed as (
      update outbox set ${set} from matching join held using (aggregate_id)
      where outbox.id = matching.id and outbox.destination = ${destination} and ${where}
      returning outbox.id
    ),
    woken as (
      update outbox_lanes lane set changes = lane.changes + 1, due_at = ${due} from held
      where lane.destination = ${destination} and lane.aggregate_id = held.aggregate_id
    )
    select (select count(*) from changed)::int as changed,
      array(select aggregate_id from matching except select aggregate_id from held) as left`.execute(db);
  return rows[0] ?? { changed: 0, left: [] };
}

export type Walk = Readonly<{
  destination: string;
  blockedByDead: boolean;
  /** The aggregate that the last walk ended with; '' begins at the first. */
  after: string;
  limit: number;
}>;

/**
 * Wakes lanes that are missing, or due later than their rows: of rows that were written by hand, or by a version that
 * knew no lanes. One look-up for each aggregate with something undone, not for each of its rows.
 * @returns how many were off, and where to go on
 */
export async function mendLanes(db: Db, walk: Walk): Promise<Readonly<{ mended: number; next: string }>> {
  const { destination, after, limit } = walk;
  const nextAfter = (aggregateId: RawBuilder<unknown>): RawBuilder<unknown> => sql`
    (select o.aggregate_id from outbox o
      where o.destination = ${destination} and not o.published and o.aggregate_id > ${aggregateId}
      order by o.aggregate_id limit 1)`;
  // Rows and lane are of one snapshot, and written together: what differs in it is off, not just under way. The second
  // is for what was committed between this transaction's now() and its snapshot.
  const { rows } = await sql<{ aggregate_id: string; off: boolean }>`
    with recursive undone as (
      select ${nextAfter(sql`${after}`)} as aggregate_id, 1 as n
      union all
      select ${nextAfter(sql`undone.aggregate_id`)}, n + 1 from undone
      where undone.aggregate_id is not null and n < ${limit}
    )
    select undone.aggregate_id, coalesce(lane.due_at, 'infinity')
      > greatest(coalesce(rest.ready, 'infinity'), now() + interval '1 second') as off
    from undone
    left join outbox_lanes lane on lane.destination = ${destination} and lane.aggregate_id = undone.aggregate_id
    cross join lateral (
      select min(ready) as ready from (${candidatesOf(sql`undone.aggregate_id`, { ...walk, limit: 1 })}) candidate) rest
    where undone.aggregate_id is not null
    order by undone.n`.execute(db);
  const off = rows.filter((row) => row.off);
  for (const { aggregate_id } of off) {
    await sql`
      insert into outbox_lanes (destination, aggregate_id, due_at) values (${destination}, ${aggregate_id}, now())
      on conflict (destination, aggregate_id) do update set due_at = excluded.due_at`.execute(db);
  }
  return { mended: off.length, next: rows.length < limit ? '' : (rows.at(-1)?.aggregate_id ?? '') };
}
