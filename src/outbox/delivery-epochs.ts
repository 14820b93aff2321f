// What PostgreSQL knows of a store behind a destination: whose data it holds, and up to when its deliveries are settled.
//
// A store (Redis) is given an epoch and keeps it beside its data. While both have the same one the store has lost
// nothing. An epoch is made by one holder, given to the store by it alone and once, and counts when it is confirmed; so
// a copy of it in the store is never a late one of before a loss.
import { randomUUID } from 'node:crypto';
import { sql, type RawBuilder } from 'kysely';
import type { Db } from '../platform/database.ts';

export type StoreRef = Readonly<{ destination: string; store: string }>;

export type StoredEpoch = Readonly<{
  epoch: string;
  /** Of the server that was given the epoch; null before it has it. */
  runId: string | null;
  /** The database's clock before the row was read. */
  time: Date;
}>;

/** Longer than one batch of a refill lasts; renewed before each. Past it another may take over, which is harmless. */
const holdSeconds = 20;

const isRow = ({ destination, store }: StoreRef): RawBuilder<unknown> =>
  sql`destination = ${destination} and store = ${store}`;

/**
 * Makes the row where there is none: of what was delivered before nothing is known to be settled, until the first
 * checkpoint (`advanceSafeTime`) has found nothing in the store that is not.
 */
export async function readEpoch(db: Db, ref: StoreRef): Promise<StoredEpoch> {
  for (;;) {
    const { rows } = await sql<StoredEpoch>`
      select epoch, run_id as "runId", now() as time from delivery_epochs where ${isRow(ref)}`.execute(db);
    if (rows[0] !== undefined) return rows[0];
    await sql`
      insert into delivery_epochs (destination, store, epoch) values (${ref.destination}, ${ref.store}, ${randomUUID()})
      on conflict do nothing`.execute(db);
  }
}

/**
 * Every delivery published before `time` is acknowledged. Never goes back, and is nothing where the epoch is another by
 * now: what was seen of the old one says nothing of it.
 */
export async function advanceSafeTime(db: Db, ref: StoreRef, epoch: string, time: Date): Promise<void> {
  await sql`
    update delivery_epochs set safe_until = ${time}
    where ${isRow(ref)} and epoch = ${epoch} and safe_until < ${time}`.execute(db);
}

export type Hold = StoreRef & Readonly<{ epoch: string; holder: string }>;

/** To fill the store again and give it a new epoch. @returns false where another does, or the epoch is another by now */
export async function holdEpoch(db: Db, hold: Hold): Promise<boolean> {
  const { numAffectedRows = 0n } = await sql`
    update delivery_epochs
    set held_by = ${hold.holder}, held_until = now() + make_interval(secs => ${holdSeconds})
    where ${isRow(hold)} and epoch = ${hold.epoch}
      and (held_by = ${hold.holder} or held_until is null or held_until <= now())`.execute(db);
  return numAffectedRows > 0n;
}

/** Ends `hold.epoch`. @returns the new one, unconfirmed, for the holder to give to the store; undefined without a hold */
export async function beginEpoch(db: Db, hold: Hold): Promise<string | undefined> {
  const { rows } = await sql<{ epoch: string }>`
    update delivery_epochs set epoch = ${randomUUID()}, run_id = null
    where ${isRow(hold)} and epoch = ${hold.epoch} and held_by = ${hold.holder}
    returning epoch`.execute(db);
  return rows[0]?.epoch;
}

/** The store has it, and is that server. @returns false where another has begun a newer one meanwhile */
export async function confirmEpoch(db: Db, hold: Hold, runId: string): Promise<boolean> {
  const { numAffectedRows = 0n } = await sql`
    update delivery_epochs set run_id = ${runId}, held_by = null, held_until = null
    where ${isRow(hold)} and epoch = ${hold.epoch} and held_by = ${hold.holder} and run_id is null`.execute(db);
  return numAffectedRows > 0n;
}
