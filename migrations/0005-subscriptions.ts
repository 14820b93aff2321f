// Catch-up subscriptions' checkpoints, and the read model of sales that one of them keeps.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // The cursor is the pair, as everywhere. Up to `replay_until` a rebuild is going over old events again.
  await sql`
    create table subscriptions (
      name                  text primary key,
      xid                   xid8 not null,
      position              bigint not null,
      replay_until_xid      xid8,
      replay_until_position bigint,
      updated_at            timestamptz not null default now(),
      check ((replay_until_xid is null) = (replay_until_position is null))
    )`.execute(db);

  // What was submitted is kept until it is known whether it was sold: order.confirmed names no items.
  await sql`
    create table sales_orders (
      order_id  uuid primary key,
      tenant_id text not null,
      currency  text not null,
      items     jsonb not null,
      sold      boolean not null default false
    )`.execute(db);
  await sql`
    create table product_sales (
      tenant_id  text not null,
      product_id text not null,
      currency   text not null,
      quantity   bigint not null,
      revenue    bigint not null,
      primary key (tenant_id, product_id, currency)
    )`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table product_sales, sales_orders, subscriptions`.execute(db);
}
