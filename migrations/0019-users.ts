// Users: the row is the truth, and its events tell of it.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // `version` counts the changes of the row. The user's stream has its own: others write there as well.
  await sql`
    create table users (
      user_id    uuid primary key,
      tenant_id  text not null,
      email      text not null check (email <> ''),
      version    integer not null,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    )`.execute(db);
  // An address belongs to one user of a tenant, however it is spelt. Addresses are ASCII, and "C" folds just that: in a
  // Turkish database, I and i would be two letters.
  await sql`create unique index users_address on users (tenant_id, lower(email collate "C"))`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table users`.execute(db);
}
