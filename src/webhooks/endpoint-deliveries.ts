// The deliveries of one endpoint: seen, sent again, restarted, removed. Lanes and rows change by the rules of lanes.ts.
import { sql } from 'kysely';
import { changeRows, dueIn } from '../outbox/lanes.ts';
import type { Db, Tx } from '../platform/database.ts';
import { statusIn } from './deliver-webhook.ts';

export type WebhookDelivery = Readonly<{
  eventId: string;
  eventType: string;
  aggregateId: string;
  version: number;
  state: 'pending' | 'dead' | 'done';
  attempts: number;
  lastError: string | null;
  /** Of the last attempt, where it failed by its answer. */
  lastStatus: number | null;
  /** Of one that is pending. */
  nextAttemptAt: Date | null;
  deliveredAt: Date | null;
  createdAt: Date;
}>;

export type DeliveryPage = Readonly<{
  destination: string;
  /** Undefined: all. */
  state: 'pending' | 'dead' | 'done' | undefined;
  limit: number;
  after: DeliveryAfter | undefined;
}>;
/** The last one of the page before. Its position is one of the log, as text. */
export type DeliveryAfter = Readonly<{ position: string; eventId: string }>;

/** Newest first. What is done is kept for three days. `next` is undefined on the last page. */
export async function listWebhookDeliveries(
  db: Db,
  { destination, state, limit, after }: DeliveryPage,
): Promise<Readonly<{ deliveries: readonly WebhookDelivery[]; next: DeliveryAfter | undefined }>> {
  const { rows: selected } = await sql<Omit<WebhookDelivery, 'lastStatus'> & { at: string }>`
    select id as "eventId", event_type as "eventType", aggregate_id as "aggregateId", version, state, attempts,
      last_error as "lastError", case when state = 'pending' then next_attempt_at end as "nextAttemptAt",
      published_at as "deliveredAt", created_at as "createdAt", position::text as at
    from outbox
    where destination = ${destination} and (${state ?? null}::text is null or state = ${state ?? null})
      and (${after?.position ?? null}::bigint is null
        or (position, id) < (${after?.position ?? null}::bigint, ${after?.eventId ?? null}::uuid))
    order by outbox.position desc, id desc
    limit ${limit + 1}`.execute(db);
  const rows = selected.map(({ at, ...row }) => ({
    at,
    view: { ...row, lastStatus: statusIn(row.lastError) ?? null },
  }));
  const page = rows.slice(0, limit);
  const last = rows.length > limit ? page.at(-1) : undefined;
  return {
    deliveries: page.map(({ view }) => view),
    next: last && { position: last.at, eventId: last.view.eventId },
  };
}

/**
 * Sends one event again that is dead, or done and still kept, past its place if later events were delivered already.
 * @returns how many; 0 where it is pending, or there is none
 */
export async function replayEvent(db: Db, destination: string, eventId: string): Promise<number> {
  return await changeRows(db, {
    destination,
    where: sql`outbox.id = ${eventId}::uuid and outbox.state <> 'pending'`,
    set: sql`state = 'pending', published_at = null, attempts = 0, next_attempt_at = now(), last_error = null,
      redelivered = exists (
        select from outbox later
        where later.destination = outbox.destination and later.aggregate_id = outbox.aggregate_id
          and later.version > outbox.version and (later.published or later.locked_until > now()))`,
    due: dueIn(0),
  });
}

const defaultBatchSize = 500;

/**
 * Sends all again that is dead, or done and still kept, of what was stored since: of each aggregate in its order. Each
 * batch of aggregates is a transaction; whoever dies between two has sent a part, and asks again. @returns how many
 */
export async function replaySince(
  db: Db,
  destination: string,
  since: Date,
  batchSize = defaultBatchSize,
): Promise<number> {
  const replayed = sql`outbox.created_at >= ${since} and outbox.state <> 'pending'`;
  let total = 0;
  // By aggregate, each once: what arrives meanwhile, and is done, is not sent yet again.
  for (let last = ''; ;) {
    const { rows } = await sql<{ aggregateId: string }>`
      select distinct outbox.aggregate_id as "aggregateId" from outbox
      where outbox.destination = ${destination} and ${replayed} and outbox.aggregate_id > ${last}
      order by 1 limit ${batchSize}`.execute(db);
    const aggregates = rows.map(({ aggregateId }) => aggregateId);
    if (aggregates.length === 0) return total;
    total += await changeRows(db, {
      destination,
      where: sql`outbox.aggregate_id = any(${aggregates}::text[]) and ${replayed}`,
      set: sql`state = 'pending', published_at = null, attempts = 0, next_attempt_at = now(), last_error = null,
        redelivered = false`,
      due: dueIn(0),
    });
    last = aggregates.at(-1) ?? last;
  }
}

/** What waits for its next attempt is due now, with its attempts from the start. */
export async function restartDeliveries(db: Db, destination: string): Promise<void> {
  await changeRows(db, {
    destination,
    where: sql`outbox.state = 'pending' and outbox.locked_by is null
      and (outbox.attempts > 0 or outbox.next_attempt_at > now())`,
    set: sql`attempts = 0, next_attempt_at = now()`,
    due: dueIn(0),
  });
}

/** Undone rows and all lanes. What is done stays until the clean-up. A relay that is just delivering finds its claim gone. */
export async function removeDeliveries(tx: Tx, destination: string): Promise<void> {
  // Awaits each lane, which nobody holds who waits for another one; the next statement has a snapshot of its own.
  await sql`
    select aggregate_id from outbox_lanes where destination = ${destination}
    order by aggregate_id for update`.execute(tx);
  await sql`delete from outbox where destination = ${destination} and not published`.execute(tx);
  await sql`delete from outbox_lanes where destination = ${destination}`.execute(tx);
  await sql`delete from outbox_destinations where destination = ${destination}`.execute(tx);
}
