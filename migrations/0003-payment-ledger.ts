// The built-in payment gateway: intents, refunds, and the ledger that says what is held.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // `voided` is the tombstone: an intent that was cancelled can never be captured.
  await sql`
    create table payments (
      payment_id       uuid primary key,
      tenant_id        text not null,
      order_id         uuid not null,
      idempotency_key  text not null unique,
      amount           bigint not null check (amount >= 0),
      currency         text not null,
      method           text not null,
      status           text not null check (status in ('pending', 'charged', 'declined', 'refunded', 'voided')),
      refunded         bigint not null default 0,
      reason           text,
      capture_attempts integer not null default 0,
      created_at       timestamptz not null default now(),
      updated_at       timestamptz not null default now(),
      constraint payments_refund_within_charge check (refunded between 0 and amount),
      constraint payments_refund_needs_charge check (refunded = 0 or status in ('charged', 'refunded'))
    )`.execute(db);
  await sql`create index payments_by_order on payments (order_id)`.execute(db);
  await sql`
    create table refunds (
      refund_id       uuid primary key,
      payment_id      uuid not null references payments,
      idempotency_key text not null unique,
      amount          bigint not null check (amount >= 0),
      created_at      timestamptz not null default now()
    )`.execute(db);
  // Double entry in one row: what one account gives, the other takes, so the ledger balances by construction.
  await sql`
    create table ledger_entries (
      entry_id       bigint generated always as identity primary key,
      payment_id     uuid not null references payments,
      kind           text not null check (kind in ('capture', 'refund')),
      debit_account  text not null,
      credit_account text not null,
      amount         bigint not null check (amount > 0),
      currency       text not null,
      created_at     timestamptz not null default now(),
      check (debit_account <> credit_account)
    )`.execute(db);
  await sql`create unique index ledger_one_capture on ledger_entries (payment_id) where kind = 'capture'`.execute(db);
  await sql`create index ledger_by_payment on ledger_entries (payment_id)`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table ledger_entries, refunds, payments`.execute(db);
}
