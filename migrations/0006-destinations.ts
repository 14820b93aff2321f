// Destinations that an operator holds: their deliveries wait, unclaimed.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table outbox_destinations (
      destination text primary key,
      paused      boolean not null,
      changed_at  timestamptz not null default now()
    )`.execute(db);
  await sql`create index outbox_dead on outbox (destination, created_at) where state = 'dead'`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop index outbox_dead`.execute(db);
  await sql`drop table outbox_destinations`.execute(db);
}
