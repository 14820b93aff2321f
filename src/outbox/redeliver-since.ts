// Puts back what a store behind a destination may have lost: delivered, and not known to be acknowledged there.
import { sql, type RawBuilder } from 'kysely';
import type { Db } from '../platform/database.ts';
import type { StoreRef } from './delivery-epochs.ts';
import { changeRows, dueIn } from './lanes.ts';

export type Redelivery = StoreRef &
  Readonly<{
    /** Rows that one batch looks at. */
    batchSize?: number;
    /** Before each batch; what it throws ends the work, to be done again from its beginning. */
    beforeBatch: () => Promise<void>;
  }>;

export type PutBack = Readonly<{ published: number; claimed: number }>;

/** By so much the database's clock may have been set meanwhile. */
const clockSeconds = 10;
const defaultBatchSize = 5_000;

/**
 * To be called when the store takes nothing more under its old epoch, and before it has a new one: so nobody can deliver
 * in between, and the order in which rows are put back is of no matter. Afterwards lanes deliver in order, as always.
 *
 * First takes away the claims, so that a delivery from before the loss can no more be completed: from then on a row of
 * those is either pending, or published and found by the second step. Each batch is a transaction; whoever dies between
 * two leaves rows that are pending, and the rest to the next caller. Attempts begin anew: the deliveries had succeeded.
 */
export async function redeliverSince(db: Db, redelivery: Redelivery): Promise<PutBack> {
  const { destination, batchSize, beforeBatch } = redelivery;
  await beforeBatch();
  const claimed = await changeRows(db, {
    destination,
    where: sql`outbox.state = 'pending' and outbox.locked_by is not null`,
    set: sql`attempts = greatest(outbox.attempts - 1, 0), locked_by = null, locked_until = null`,
    due: dueIn(0),
  });
  const published = await putBackPublished(db, {
    destination,
    which: await publishedSinceSafeTime(db, redelivery),
    reason: 'the store behind the destination has lost it',
    ...(batchSize !== undefined && { batchSize }),
    beforeBatch,
  });
  return { published, claimed };
}

/**
 * What was delivered waits again, its attempts from the start. All of an aggregate goes in one batch, so the lanes deliver
 * it in order.
 * @param which condition on `outbox` that takes in published rows up to some time that is past, or it would not end
 */
export async function putBackPublished(
  db: Db,
  what: Readonly<{ destination: string; which: RawBuilder<unknown>; reason: string }> &
    Partial<Pick<Redelivery, 'batchSize' | 'beforeBatch'>>,
): Promise<number> {
  const { destination, which, reason, batchSize = defaultBatchSize, beforeBatch } = what;
  let published = 0;
  for (;;) {
    await beforeBatch?.();
    const aggregates = await aggregatesOf(db, destination, which, batchSize);
    if (aggregates.length === 0) return published;
    published += await changeRows(db, {
      destination,
      where: sql`outbox.aggregate_id = any(${aggregates}::text[]) and ${which}`,
      set: sql`state = 'pending', published_at = null, attempts = 0, next_attempt_at = now(), last_error = ${reason}`,
      due: dueIn(0),
    });
  }
}

/** Up to now: what is published later was delivered by a claim made after the claims were taken away. */
async function publishedSinceSafeTime(db: Db, { destination, store }: StoreRef): Promise<RawBuilder<unknown>> {
  const { rows } = await sql<{ since: string; until: string }>`
    select (safe_until - make_interval(secs => ${clockSeconds}))::text as since,
      (now() + make_interval(secs => ${clockSeconds}))::text as until
    from delivery_epochs where destination = ${destination} and store = ${store}`.execute(db);
  const { since, until } = rows[0] ?? { since: 'infinity', until: 'infinity' };
  return sql`outbox.published and outbox.published_at between ${since}::timestamptz and ${until}::timestamptz`;
}

async function aggregatesOf(
  db: Db,
  destination: string,
  unsettled: RawBuilder<unknown>,
  limit: number,
): Promise<readonly string[]> {
  const { rows } = await sql<{ aggregateId: string }>`
    select distinct batch.aggregate_id as "aggregateId" from (
      select outbox.aggregate_id from outbox where outbox.destination = ${destination} and ${unsettled}
      order by outbox.published_at limit ${limit}) batch`.execute(db);
  return rows.map(({ aggregateId }) => aggregateId);
}
