// The relay's statements. All times are the database's; every write after a claim is fenced by the claim's owner.
import { sql } from 'kysely';
import type { Db } from '../platform/database.ts';
import type { EventRow } from '../platform/schema.ts';

export type ClaimedRow = EventRow & Readonly<{ attempts: number; redelivered: boolean }>;

export type Claim = Readonly<{
  destination: string;
  owner: string;
  limit: number;
  leaseSeconds: number;
  blockedByDead: boolean;
}>;

/**
 * Leases due deliveries, at most one per aggregate: the one with no earlier undone delivery before it. The attempt is
 * counted here, so that one which kills its process is counted as well. Materialized: looked for once, whatever the plan.
 */
export async function claimDeliveries(db: Db, claim: Claim): Promise<readonly ClaimedRow[]> {
  const { rows } = await sql<ClaimedRow>`
    with due as materialized (
      select head.id, head.destination from outbox head
      where head.destination = ${claim.destination}
        and not head.published
        and head.state = 'pending'
        and head.next_attempt_at <= now()
        and (head.locked_until is null or head.locked_until < now())
        and not exists (
          select from outbox_destinations held where held.destination = ${claim.destination} and held.paused)
        and (head.redelivered or not exists (
          select from outbox earlier
          where earlier.destination = head.destination
            and earlier.aggregate_id = head.aggregate_id
            and earlier.version < head.version
            and not earlier.published
            and (earlier.state = 'pending' or ${claim.blockedByDead})))
      order by head.next_attempt_at
      limit ${claim.limit}
      for update skip locked
    )
    update outbox set
      attempts = outbox.attempts + 1,
      locked_by = ${claim.owner},
      locked_until = now() + make_interval(secs => ${claim.leaseSeconds})
    from due
    where outbox.id = due.id and outbox.destination = due.destination
    returning outbox.id, outbox.event_type, outbox.aggregate_id, outbox.aggregate_type, outbox.version,
      outbox.payload, outbox.metadata, outbox.schema_version, outbox.occurred_at,
      outbox.position::text as position, outbox.attempts, outbox.redelivered`.execute(db);
  return rows;
}

type Owned = Readonly<{ destination: string; owner: string }>;

/** @returns how many were still this owner's; the rest had their lease taken over and will be delivered again. */
export async function completeDeliveries(db: Db, owned: Owned, ids: readonly string[]): Promise<number> {
  if (ids.length === 0) return 0;
  const result = await sql`
    update outbox set state = 'done', published_at = now(), locked_by = null, locked_until = null, last_error = null
    where id = any(${ids}::uuid[]) and destination = ${owned.destination} and locked_by = ${owned.owner}`.execute(db);
  return Number(result.numAffectedRows ?? 0n);
}

/** Back to the queue with its attempt given back: it was too early, or the destination was away. */
export async function giveBack(
  db: Db,
  owned: Owned,
  ids: readonly string[],
  wait: Readonly<{ milliseconds: number; reason: string }>,
): Promise<void> {
  if (ids.length === 0) return;
  await sql`
    update outbox set attempts = attempts - 1, locked_by = null, locked_until = null, last_error = ${wait.reason},
      next_attempt_at = now() + make_interval(secs => ${wait.milliseconds / 1000})
    where id = any(${ids}::uuid[]) and destination = ${owned.destination} and locked_by = ${owned.owner}`.execute(db);
}

/** The attempt failed: again after `retryInMilliseconds`, or a dead letter where that is undefined. */
export async function recordFailure(
  db: Db,
  owned: Owned,
  id: string,
  failure: Readonly<{ error: string; retryInMilliseconds: number | undefined }>,
): Promise<void> {
  const { error, retryInMilliseconds } = failure;
  await sql`
    update outbox set locked_by = null, locked_until = null, last_error = ${error.slice(0, 2000)},
      state = ${retryInMilliseconds === undefined ? 'dead' : 'pending'},
      next_attempt_at = now() + make_interval(secs => ${(retryInMilliseconds ?? 0) / 1000})
    where id = ${id}::uuid and destination = ${owned.destination} and locked_by = ${owned.owner}`.execute(db);
}

/** What a relay claimed and could not record, because the database was away: free again without waiting for the lease. */
export async function releaseClaims(db: Db, owned: Owned): Promise<void> {
  await sql`
    update outbox set locked_by = null, locked_until = null
    where destination = ${owned.destination} and not published and locked_by = ${owned.owner}`.execute(db);
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
