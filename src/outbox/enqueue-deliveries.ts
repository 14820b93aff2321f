// Deliveries that no append has made: of an event that is stored already, to destinations that become known later.
import { sql, type RawBuilder } from 'kysely';
import type { Queryable } from '../platform/database.ts';
import type { EventRow } from '../platform/schema.ts';

/**
 * One pending delivery per destination, and their lanes awake; together with the caller's transaction, or not at all. A
 * delivery that is there already, in whatever state, is left as it is. Relays find them by polling.
 * @param destinations in any order: lanes are locked by name. A transaction that does this for several aggregates does
 * it in the order of their ids
 */
export async function enqueueDeliveries(
  db: Queryable,
  event: EventRow,
  destinations: readonly string[],
): Promise<void> {
  if (destinations.length === 0) return;
  await sql`${insertBehindLanes(event, destinations)} on conflict (id, destination) do nothing`.execute(db);
}

/**
 * An INSERT that wants its ON CONFLICT. Lane first, then row, as everywhere (lanes.ts); the lanes are due now, which is
 * at worst one look too early.
 */
export function insertBehindLanes(
  event: EventRow,
  destinations: readonly string[],
  { state, lastError }: Readonly<{ state: 'pending' | 'dead'; lastError: string | null }> = {
    state: 'pending',
    lastError: null,
  },
): RawBuilder<unknown> {
  const inOrder = [...new Set(destinations)].toSorted();
  return sql`
    with lane as (
      insert into outbox_lanes as lane (destination, aggregate_id, due_at)
      select destination, ${event.aggregate_id}, now()
      from unnest(${inOrder}::text[]) with ordinality as wanted (destination, n)
      order by n
      on conflict (destination, aggregate_id) do update set changes = lane.changes + 1, due_at = excluded.due_at
      returning lane.destination
    )
    insert into outbox (id, destination, event_type, aggregate_id, aggregate_type, version, payload, metadata,
                        schema_version, occurred_at, position, state, last_error)
    select ${event.id}::uuid, lane.destination, ${event.event_type}, ${event.aggregate_id}, ${event.aggregate_type},
           ${event.version}, ${JSON.stringify(event.payload)}::jsonb, ${JSON.stringify(event.metadata)}::jsonb,
           ${event.schema_version}, ${event.occurred_at}, ${event.position}::bigint, ${state}, ${lastError}
    from lane`;
}
