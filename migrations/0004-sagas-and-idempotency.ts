// Which saga was started, how far its steps are, and the answers to commands that may be sent again.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // Temporal forgets a finished run after its retention; this row does not. Only `started` skips a start.
  await sql`
    create table saga_starts (
      workflow_id  text primary key,
      aggregate_id text not null,
      event_id     uuid not null,
      state        text not null check (state in ('starting', 'started')),
      run_id       text,
      created_at   timestamptz not null default now(),
      started_at   timestamptz,
      check (state <> 'started' or started_at is not null)
    )`.execute(db);
  await sql`create index saga_starts_by_aggregate on saga_starts (aggregate_id)`.execute(db);
  await sql`
    create table saga_steps (
      workflow_id text not null,
      step        text not null,
      state       text not null check (state in ('pending', 'running', 'done', 'refused', 'undone', 'parked')),
      attempts    integer not null default 0,
      error       text,
      updated_at  timestamptz not null default now(),
      primary key (workflow_id, step)
    )`.execute(db);
  await sql`
    create table idempotency_keys (
      tenant_id    text not null,
      method       text not null,
      path         text not null,
      key          text not null,
      request_hash text not null,
      status       integer,
      headers      jsonb,
      body         text,
      locked_until timestamptz,
      created_at   timestamptz not null default now(),
      primary key (tenant_id, method, path, key)
    )`.execute(db);
  await sql`create index idempotency_keys_age on idempotency_keys (created_at)`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table idempotency_keys, saga_steps, saga_starts`.execute(db);
}
