// What an operator does about deliveries: look at them, send dead letters again, hold a destination.
import { sql } from 'kysely';
import type { Db } from '../platform/database.ts';
import { changeRows, dueIn } from './lanes.ts';
import { putBackPublished } from './redeliver-since.ts';

export type DeliveryView = Readonly<{
  eventId: string;
  destination: string;
  eventType: string;
  aggregateId: string;
  version: number;
  state: 'pending' | 'dead';
  attempts: number;
  lastError: string | null;
  /** An earlier delivery of the same aggregate is not done, and this one waits for it. */
  waitsForEarlier: boolean;
  redelivered: boolean;
  nextAttemptAt: Date;
  createdAt: Date;
}>;

/** After which delivery a page begins. The position is one of the log, as text. */
export type DeliveryCursor = Readonly<{ position: string; destination: string }>;

export type DeliveryFilter = Readonly<{
  /** Undefined: of all tenants, for whoever runs the service. */
  tenantId: string | undefined;
  /** Undefined: both. */
  state: 'pending' | 'dead' | undefined;
  destination?: string | undefined;
  limit: number;
  after?: DeliveryCursor | undefined;
  /** Destinations where a dead letter holds up the later events of its aggregate. */
  blocking: readonly string[];
}>;

/** In the order in which the events were appended. `next` is undefined on the last page. */
export async function listDeliveries(
  db: Db,
  { tenantId, state, destination, limit, after, blocking }: DeliveryFilter,
): Promise<Readonly<{ deliveries: readonly DeliveryView[]; next: DeliveryCursor | undefined }>> {
  const { rows: selected } = await sql<DeliveryView & { at: string }>`
    select id as "eventId", destination, event_type as "eventType", aggregate_id as "aggregateId", version, state,
      attempts, last_error as "lastError", redelivered, next_attempt_at as "nextAttemptAt", created_at as "createdAt",
      position::text as at,
      state = 'pending' and not redelivered and exists (
        select from outbox earlier
        where earlier.destination = outbox.destination and earlier.aggregate_id = outbox.aggregate_id
          and earlier.version < outbox.version and not earlier.published
          and (earlier.state = 'pending' or earlier.destination = any(${blocking}::text[]))) as "waitsForEarlier"
    from outbox
    where not published and (${state ?? null}::text is null or state = ${state ?? null})
      and (${tenantId ?? null}::text is null or metadata ->> 'tenantId' = ${tenantId ?? null})
      and (${destination ?? null}::text is null or destination = ${destination ?? null})
      and (${after?.position ?? null}::bigint is null or (position, destination)
        > (${after?.position ?? null}::bigint, ${after?.destination ?? null}))
    order by outbox.position, destination
    limit ${limit + 1}`.execute(db);
  const rows = selected.map(({ at, ...view }) => ({ view, at }));
  const page = rows.slice(0, limit);
  const last = rows.length > limit ? page.at(-1) : undefined;
  return {
    deliveries: page.map((row) => row.view),
    next: last && { position: last.at, destination: last.view.destination },
  };
}

/**
 * Sends dead letters again, of one tenant or, where that is undefined, of all, with their attempts from the start. One
 * that later events of its aggregate have overtaken, or are just overtaking, is marked as redelivered, and no longer
 * waits for its place.
 * @returns how many; 0 where there is no such dead letter
 */
export async function retryDeadLetters(
  db: Db,
  of: Readonly<{ tenantId: string | undefined; destination: string; eventId?: string | undefined }>,
): Promise<number> {
  return await changeRows(db, {
    destination: of.destination,
    where: sql`outbox.state = 'dead' and not outbox.published
      and (${of.tenantId ?? null}::text is null or outbox.metadata ->> 'tenantId' = ${of.tenantId ?? null})
      and (${of.eventId ?? null}::uuid is null or outbox.id = ${of.eventId ?? null}::uuid)`,
    set: sql`state = 'pending', attempts = 0, next_attempt_at = now(),
      redelivered = exists (
        select from outbox later
        where later.destination = outbox.destination and later.aggregate_id = outbox.aggregate_id
          and later.version > outbox.version and (later.published or later.locked_until > now()))`,
    due: dueIn(0),
  });
}

/**
 * Sends again, of all tenants and under the same ids, what was delivered from that time until now: for who reads behind
 * the destination and has lost it. Of each aggregate in order. Only what the clean-up has left (clean-up.ts).
 * @returns how many
 */
export async function resendDelivered(
  db: Db,
  { destination, since }: Readonly<{ destination: string; since: Date }>,
): Promise<number> {
  const { rows } = await sql<{ now: string }>`select now()::text as now`.execute(db);
  const which = sql`outbox.published and outbox.published_at between ${since} and ${rows[0]?.now}::timestamptz`;
  return await putBackPublished(db, { destination, which, reason: 'sent again by hand' });
}

/** Deliveries under way end as they would; no more are claimed, by any relay, until it is resumed. */
export async function holdDestination(db: Db, destination: string, paused: boolean): Promise<void> {
  await sql`
    insert into outbox_destinations (destination, paused) values (${destination}, ${paused})
    on conflict (destination) do update set paused = excluded.paused, changed_at = now()`.execute(db);
}
