// A backlog written straight into the outbox: more than an append could bring in a test's time.
import { sql } from 'kysely';
import type { Db } from '../../src/platform/database.ts';

/** Rows of `aggregates` streams, `each` long, and their lanes, as if the relay had just looked. */
export async function fillOutbox(
  db: Db,
  backlog: Readonly<{ name: string; aggregates: number; each: number; state: 'done' | 'pending' }>,
): Promise<void> {
  const { name, aggregates, each, state } = backlog;
  await sql`
    insert into outbox (id, destination, event_type, aggregate_id, aggregate_type, version, payload, metadata,
                        schema_version, occurred_at, position, state)
    select uuidv7(), 'left', 'thing.counted', ${name}::text || '-' || a, 'thing', v, '{"n": 1}', '{"tenantId": "default"}',
      2, now(), v, ${state}
    from generate_series(1, ${aggregates}::int) a, generate_series(1, ${each}::int) v`.execute(db);
  await sql`
    insert into outbox_lanes (destination, aggregate_id, due_at)
    select 'left', ${name}::text || '-' || a, ${state === 'done' ? null : new Date(0)}::timestamptz
    from generate_series(1, ${aggregates}::int) a`.execute(db);
}
