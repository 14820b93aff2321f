// The relay's statements. All times are the database's; every write after a claim is fenced by the claim's owner.
import { sql, type RawBuilder } from 'kysely';
import type { Db } from '../platform/database.ts';
import type { EventRow } from '../platform/schema.ts';
import { candidatesOf, changeRows, dueForTheRest, dueIn, holdLanes } from './lanes.ts';

export type ClaimedRow = EventRow & Readonly<{ attempts: number; redelivered: boolean }>;

export type Claim = Readonly<{
  destination: string;
  owner: string;
  limit: number;
  leaseSeconds: number;
  blockedByDead: boolean;
}>;

/**
 * Leases deliveries of lanes that are due: of each the one with no earlier undone delivery before it, and those that
 * were sent again past their place. The attempt is counted here, so that one which kills its process is counted as well.
 * Whatever had its process die under it goes first, and alone: should it have been the cause, it takes no other delivery
 * with it again, whose attempts would be counted up for nothing.
 */
export async function claimDeliveries(db: Db, claim: Claim): Promise<readonly ClaimedRow[]> {
  for (;;) {
    const { rows, lanes } = await claimOnce(db, claim);
    // Lanes that were due too early sleep now; there may be others behind them.
    if (rows.length > 0 || lanes === 0) return rows;
  }
}

/** What the rows' claim costs is lanes, at most `limit` of them, whatever stands behind their heads. See lanes.ts. */
export function claimStatement(claim: Claim): RawBuilder<Partial<ClaimedRow> & Readonly<{ lanes: number }>> {
  const { destination, owner, limit, leaseSeconds } = claim;
  const leaseEnd = sql`now() + make_interval(secs => ${leaseSeconds})`;
  const isDue = sql`lane.due_at <= now()
    and not exists (select from outbox_destinations paused where paused.destination = ${destination} and paused.paused)
    order by lane.due_at limit ${limit}`;
  return sql`
    with ${holdLanes(destination, isDue)},
    candidates as materialized (
      select held.aggregate_id, candidate.id, candidate.ready, candidate.orphaned
      from held cross join lateral (${candidatesOf(sql`held.aggregate_id`, claim)}) candidate
    ),
    taken as materialized (
      select id from candidates where ready <= now()
      order by orphaned desc, ready
      limit case when exists (select from candidates where ready <= now() and orphaned) then 1 else ${limit}::int end
    ),
    leased as (
      update outbox set attempts = outbox.attempts + 1, locked_by = ${owner}, locked_until = ${leaseEnd}
      from taken
      where outbox.id = taken.id and outbox.destination = ${destination}
        and outbox.state = 'pending' and (outbox.locked_until is null or outbox.locked_until <= now())
      returning outbox.id, outbox.event_type, outbox.aggregate_id, outbox.aggregate_type, outbox.version,
        outbox.payload, outbox.metadata, outbox.schema_version, outbox.occurred_at,
        outbox.position::text as position, outbox.attempts, outbox.redelivered
    ),
    asleep as (
      update outbox_lanes lane set changes = lane.changes + 1, due_at = (
        select min(case when taken.id is null then candidates.ready else ${leaseEnd} end)
        from candidates left join taken using (id)
        where candidates.aggregate_id = lane.aggregate_id)
      from held
      where lane.destination = ${destination} and lane.aggregate_id = held.aggregate_id
    )
    select (select count(*) from held)::int as lanes, leased.* from (values (1)) one left join leased on true`;
}

async function claimOnce(db: Db, claim: Claim): Promise<Readonly<{ rows: readonly ClaimedRow[]; lanes: number }>> {
  const { rows } = await claimStatement(claim).execute(db);
  return { rows: rows.filter(isClaimed), lanes: rows[0]?.lanes ?? 0 };
}

/** The statement answers with a row of nulls where it has leased nothing. */
const isClaimed = <T extends Partial<ClaimedRow>>(row: T): row is T & ClaimedRow => typeof row.id === 'string';

type Owned = Readonly<{ destination: string; owner: string }>;

const ownedRows = (owner: string, ids: readonly string[]): RawBuilder<unknown> =>
  sql`outbox.id = any(${ids}::uuid[]) and outbox.locked_by = ${owner}`;

/** @returns how many were still this owner's; the rest had their lease taken over and will be delivered again. */
export async function completeDeliveries(db: Db, owned: Owned, ids: readonly string[]): Promise<number> {
  if (ids.length === 0) return 0;
  return await changeRows(db, {
    destination: owned.destination,
    where: ownedRows(owned.owner, ids),
    set: sql`state = 'done', published_at = now(), locked_by = null, locked_until = null, last_error = null`,
    due: dueForTheRest,
  });
}

/** Back to the queue with its attempt given back: it was too early, or the destination was away. */
export async function giveBack(
  db: Db,
  owned: Owned,
  ids: readonly string[],
  wait: Readonly<{ milliseconds: number; reason: string }>,
): Promise<void> {
  if (ids.length === 0) return;
  await changeRows(db, {
    destination: owned.destination,
    where: ownedRows(owned.owner, ids),
    set: sql`attempts = outbox.attempts - 1, locked_by = null, locked_until = null, last_error = ${wait.reason},
      next_attempt_at = now() + make_interval(secs => ${wait.milliseconds / 1000})`,
    due: dueIn(wait.milliseconds),
  });
}

/** The attempt failed: again after `retryInMilliseconds`, or a dead letter where that is undefined. */
export async function recordFailure(
  db: Db,
  owned: Owned,
  id: string,
  failure: Readonly<{ error: string; retryInMilliseconds: number | undefined }>,
): Promise<void> {
  const { error, retryInMilliseconds } = failure;
  await changeRows(db, {
    destination: owned.destination,
    where: ownedRows(owned.owner, [id]),
    set: sql`locked_by = null, locked_until = null, last_error = ${error.slice(0, 2000)},
      state = ${retryInMilliseconds === undefined ? 'dead' : 'pending'},
      next_attempt_at = now() + make_interval(secs => ${(retryInMilliseconds ?? 0) / 1000})`,
    // After a dead letter the next claim finds out, by its policy, what it does to the lane.
    due: dueIn(retryInMilliseconds ?? 0),
  });
}

/** What a relay claimed and could not record, because the database was away: free again without waiting for the lease. */
export async function releaseClaims(db: Db, owned: Owned): Promise<void> {
  await changeRows(db, {
    destination: owned.destination,
    where: sql`not outbox.published and outbox.locked_by = ${owned.owner}`,
    set: sql`locked_by = null, locked_until = null`,
    due: dueIn(0),
  });
}

/** What `/readyz` of a process without loops of its own shows. */
export async function recordHeartbeat(db: Db, owned: Owned): Promise<void> {
  await sql`
    insert into relay_heartbeats (destination, relay, last_round_at) values (${owned.destination}, ${owned.owner}, now())
    on conflict (destination) do update set relay = excluded.relay, last_round_at = excluded.last_round_at`.execute(db);
}

export type LoopAge = Readonly<{ destination: string; ageSeconds: number }>;

/** Seconds since each destination's loop last came round, in whichever process. */
export async function readLoopAges(db: Db): Promise<readonly LoopAge[]> {
  const { rows } = await sql<LoopAge>`
    select destination, extract(epoch from now() - last_round_at)::float8 as "ageSeconds"
    from relay_heartbeats order by destination`.execute(db);
  return rows;
}
