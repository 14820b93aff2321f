// Which jobs were ever added under a key. The jobs themselves are pg-boss', in a schema that it keeps up to date itself.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create table job_keys (
      name       text not null,
      key        text not null,
      created_at timestamptz not null default now(),
      primary key (name, key)
    )`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop table job_keys`.execute(db);
}
