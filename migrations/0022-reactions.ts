// What the plain handlers leave in PostgreSQL: shipments, and counters that are exact.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // An order is shipped once, whoever asks how often and under which key.
  await sql`
    create table shipments (
      shipment_id     uuid primary key,
      tenant_id       text not null,
      order_id        uuid not null unique,
      idempotency_key text not null unique,
      items           jsonb not null check (jsonb_typeof(items) = 'array'),
      created_at      timestamptz not null default now()
    )`.execute(db);
  // Rows of one counter are added up: several, so that handlers which count at the same time do not wait for each other.
  await sql`
    create table event_counters (
      name      text not null,
      tenant_id text not null,
      shard     smallint not null,
      value     bigint not null,
      primary key (name, tenant_id, shard)
    )`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table event_counters`.execute(db);
  await sql`drop table shipments`.execute(db);
}
