// Lanes: when a claim should look at an aggregate's deliveries to one destination, so that it need not ask each of them.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // The truth stays in the outbox; `due_at` is worked out from it and may be too early, never too late. null: nothing
  // stands before the next event; infinity: a dead letter does. `changes` counts the writes to the lane's rows.
  await sql`
    create table outbox_lanes (
      destination  text not null,
      aggregate_id text not null,
      due_at       timestamptz,
      changes      bigint not null default 0,
      primary key (destination, aggregate_id)
    )`.execute(db);
  await sql`create index outbox_lanes_due on outbox_lanes (destination, due_at) where due_at is not null`.execute(db);
  // With the state before the version, the first pending one is one step behind any number of dead ones.
  await sql`drop index outbox_heads`.execute(db);
  await sql`
    create index outbox_heads on outbox (destination, aggregate_id, state, version) where not published`.execute(db);
  await sql`
    create index outbox_redelivered on outbox (destination, aggregate_id, greatest(next_attempt_at, locked_until))
      where redelivered and state = 'pending'`.execute(db);
  // All due: the first claim works out what they are.
  await sql`
    insert into outbox_lanes (destination, aggregate_id, due_at)
    select distinct destination, aggregate_id, now() from outbox where not published`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop index outbox_redelivered, outbox_heads`.execute(db);
  await sql`create index outbox_heads on outbox (destination, aggregate_id, version) where not published`.execute(db);
  await sql`drop table outbox_lanes`.execute(db);
}
