// What is known of a store behind a destination (Redis), so that it can be filled again when it has lost its data.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // The store holds the same epoch. `run_id` is the server that it was given to, null until it has it. Every delivery
  // that was published before `safe_until` is acknowledged. `held_by` fills it again, alone until `held_until`.
  await sql`
    create table delivery_epochs (
      destination text not null,
      store       text not null,
      epoch       uuid not null,
      run_id      text,
      safe_until  timestamptz not null default '-infinity',
      held_by     text,
      held_until  timestamptz,
      primary key (destination, store)
    )`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table delivery_epochs`.execute(db);
}
