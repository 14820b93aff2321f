// A delivery that had left the outbox, and failed for good behind it: a dead letter after all.
import { sql } from 'kysely';
import type { Queryable } from '../platform/database.ts';
import type { EventRow } from '../platform/schema.ts';
import { insertBehindLanes } from './enqueue-deliveries.ts';

/**
 * Makes the delivery a dead letter, in the same list and with the same retry as those of the relay (G6). Where its row
 * was cleaned up already it is made anew; a relay that is just completing it finds its claim gone.
 */
export async function parkDelivery(db: Queryable, destination: string, event: EventRow, error: string): Promise<void> {
  await sql`
    ${insertBehindLanes(event, [destination], { state: 'dead', lastError: error.slice(0, 2000) })}
    on conflict (id, destination) do update set
      state = 'dead', last_error = excluded.last_error, published_at = null, locked_by = null, locked_until = null`.execute(
    db,
  );
}
