// The append-only event log, the streams' versions, the outbox and the inbox.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // One row per aggregate: the append locks it, so versions are given out one at a time. `last_xid` is the greatest
  // ordering xid that the stream has used: an append takes the greater of its own and this one, so that neither a
  // stream's order nor a late commit is ever lost on a reader by (ordering_xid, position).
  await sql`
    create table streams (
      aggregate_id   text primary key,
      aggregate_type text not null,
      tenant_id      text not null,
      version        integer not null check (version > 0),
      last_xid       xid8 not null,
      created_at     timestamptz not null default now()
    )`.execute(db);
  await sql`
    create table events (
      id             uuid primary key,
      event_type     text not null,
      aggregate_id   text not null references streams,
      aggregate_type text not null,
      version        integer not null check (version > 0),
      payload        jsonb not null check (jsonb_typeof(payload) = 'object'),
      metadata       jsonb not null check (jsonb_typeof(metadata) = 'object'),
      schema_version integer not null check (schema_version > 0),
      tenant_id      text not null,
      occurred_at    timestamptz not null,
      created_at     timestamptz not null default now(),
      position       bigint generated always as identity,
      ordering_xid   xid8 not null,
      unique (aggregate_id, version)
    )`.execute(db);
  await sql`create unique index events_global_order on events (ordering_xid, position)`.execute(db);
  await sql`create index events_aggregate_occurred on events (aggregate_id, occurred_at)`.execute(db);
  await sql`create index events_type_occurred on events (event_type, occurred_at)`.execute(db);
  await sql`create index events_occurred on events (occurred_at)`.execute(db);
  await sql`
    create function refuse_event_change() returns trigger language plpgsql as $$
    begin
      raise exception 'events are append-only: % is refused', tg_op using errcode = 'restrict_violation';
    end $$`.execute(db);
  await sql`
    create trigger events_append_only before update or delete or truncate on events
      for each statement execute function refuse_event_change()`.execute(db);

  // One row per delivery. `next_attempt_at` and the lease are the database's clock, never a process's.
  await sql`
    create table outbox (
      id              uuid not null,
      destination     text not null,
      event_type      text not null,
      aggregate_id    text not null,
      aggregate_type  text not null,
      version         integer not null,
      payload         jsonb not null,
      metadata        jsonb not null,
      schema_version  integer not null,
      occurred_at     timestamptz not null,
      position        bigint not null,
      created_at      timestamptz not null default now(),
      state           text not null default 'pending' check (state in ('pending', 'dead', 'done')),
      published       boolean not null generated always as (state = 'done') stored,
      published_at    timestamptz,
      attempts        integer not null default 0,
      next_attempt_at timestamptz not null default now(),
      locked_by       text,
      locked_until    timestamptz,
      last_error      text,
      redelivered     boolean not null default false,
      primary key (id, destination)
    )`.execute(db);
  await sql`create index outbox_unpublished on outbox (destination, next_attempt_at) where not published`.execute(db);
  await sql`create index outbox_heads on outbox (destination, aggregate_id, version) where not published`.execute(db);
  // Handlers' names are stable strings: under a new name a redelivery would run it again.
  await sql`
    create table inbox (
      handler_name text not null,
      event_id     uuid not null,
      processed_at timestamptz not null default now(),
      primary key (handler_name, event_id)
    )`.execute(db);
  // When each destination's loop last came round, whichever process it runs in.
  await sql`
    create table relay_heartbeats (
      destination   text primary key,
      relay         text not null,
      last_round_at timestamptz not null
    )`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table relay_heartbeats, inbox, outbox, events, streams`.execute(db);
  await sql`drop function refuse_event_change`.execute(db);
}
