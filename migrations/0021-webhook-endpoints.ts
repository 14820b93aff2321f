// Where integration events go outside: endpoints, the secrets that sign, and their deliveries by position.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // `failing_since`: the first failure after the last success. A throttled endpoint gets nothing before that time.
  await sql`
    create table webhook_endpoints (
      id              uuid primary key,
      tenant_id       text not null,
      url             text not null,
      events          text[] not null check (cardinality(events) > 0),
      created_at      timestamptz not null default now(),
      disabled_at     timestamptz,
      disabled_reason text,
      throttled_until timestamptz,
      last_success_at timestamptz,
      last_failure_at timestamptz,
      last_failure    text,
      failing_since   timestamptz,
      check ((disabled_at is null) = (disabled_reason is null))
    )`.execute(db);
  await sql`create index webhook_endpoints_tenant on webhook_endpoints (tenant_id, id)`.execute(db);
  // `signs_until` null: until it is rotated. `made_by`: the command, so that one that is repeated finds its secret.
  await sql`
    create table webhook_secrets (
      endpoint_id uuid not null references webhook_endpoints on delete cascade,
      secret      text not null,
      made_by     text,
      created_at  timestamptz not null default clock_timestamp(),
      signs_until timestamptz,
      primary key (endpoint_id, secret)
    )`.execute(db);
  await sql`create unique index webhook_secrets_current on webhook_secrets (endpoint_id) where signs_until is null`.execute(
    db,
  );
  // One endpoint's deliveries, done ones too, newest first. Other destinations sort before it, and cost nothing here.
  await sql`create index outbox_webhooks on outbox (destination, position) where destination > 'webhook:'`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop index outbox_webhooks`.execute(db);
  await sql`drop table webhook_secrets, webhook_endpoints`.execute(db);
}
