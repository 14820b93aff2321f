// Orders (the inline projection of their streams), products, and reservations as rows.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table orders (
      order_id               uuid primary key,
      tenant_id              text not null,
      customer_id            text not null,
      status                 text not null check (status in ('draft', 'submitted', 'confirmed', 'failed', 'cancelled')),
      currency               text not null,
      total                  bigint not null check (total >= 0),
      payment_method         text not null,
      payment_id             uuid,
      paid_at                timestamptz,
      failure_reason         text,
      cancellation_requested boolean not null default false,
      version                integer not null,
      created_at             timestamptz not null default now(),
      updated_at             timestamptz not null default now()
    )`.execute(db);
  await sql`create index orders_by_tenant on orders (tenant_id, order_id desc)`.execute(db);
  await sql`create index orders_by_status on orders (tenant_id, status, order_id desc)`.execute(db);
  await sql`
    create table order_items (
      order_id   uuid not null references orders on delete cascade,
      product_id text not null,
      line       integer not null,
      quantity   integer not null check (quantity > 0),
      price      bigint not null check (price >= 0),
      primary key (order_id, product_id)
    )`.execute(db);

  // Overselling is impossible by constraint: what is reserved never exceeds what is there.
  await sql`
    create table products (
      tenant_id  text not null,
      product_id text not null,
      name       text not null,
      on_hand    integer not null check (on_hand >= 0),
      reserved   integer not null default 0 check (reserved >= 0),
      updated_at timestamptz not null default now(),
      primary key (tenant_id, product_id),
      constraint products_never_oversold check (reserved <= on_hand)
    )`.execute(db);
  // A released reservation is a tombstone: a late reserve of the same order finds it and takes nothing.
  await sql`
    create table reservations (
      reservation_id uuid primary key,
      tenant_id      text not null,
      order_id       uuid not null unique,
      state          text not null check (state in ('held', 'consumed', 'released')),
      created_at     timestamptz not null default now(),
      updated_at     timestamptz not null default now()
    )`.execute(db);
  await sql`
    create table reservation_items (
      reservation_id uuid not null references reservations on delete cascade,
      product_id     text not null,
      quantity       integer not null check (quantity > 0),
      primary key (reservation_id, product_id)
    )`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table reservation_items, reservations, products, order_items, orders`.execute(db);
}
