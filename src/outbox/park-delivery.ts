// A delivery that had left the outbox, and failed for good behind it: a dead letter after all.
import { sql } from 'kysely';
import type { Queryable } from '../platform/database.ts';
import type { EventRow } from '../platform/schema.ts';

/**
 * Makes the delivery a dead letter, in the same list and with the same retry as those of the relay (G6). Where its row
 * was cleaned up already it is made anew; a relay that is just completing it finds its claim gone. Lane first, then row,
 * as everywhere (lanes.ts).
 */
export async function parkDelivery(db: Queryable, destination: string, event: EventRow, error: string): Promise<void> {
  await sql`
    with lane as (
      insert into outbox_lanes as lane (destination, aggregate_id, due_at)
      values (${destination}, ${event.aggregate_id}, now())
      on conflict (destination, aggregate_id) do update set changes = lane.changes + 1, due_at = excluded.due_at
      returning lane.destination
    )
    insert into outbox (id, destination, event_type, aggregate_id, aggregate_type, version, payload, metadata,
                        schema_version, occurred_at, position, state, last_error)
    select ${event.id}::uuid, lane.destination, ${event.event_type}, ${event.aggregate_id}, ${event.aggregate_type},
            ${event.version}, ${JSON.stringify(event.payload)}::jsonb, ${JSON.stringify(event.metadata)}::jsonb,
            ${event.schema_version}, ${event.occurred_at}, ${event.position}::bigint, 'dead', ${error.slice(0, 2000)}
    from lane
    on conflict (id, destination) do update set
      state = 'dead', last_error = excluded.last_error, published_at = null, locked_by = null, locked_until = null`.execute(
    db,
  );
}
