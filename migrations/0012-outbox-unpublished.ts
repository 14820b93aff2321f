// What waits, by when it began to: how many deliveries a destination has left, and the age of the oldest, from the index.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // The claims go by lanes since 0007, so nothing looks for the next attempt any more.
  await sql`drop index outbox_unpublished`.execute(db);
  await sql`create index outbox_unpublished on outbox (destination, state, created_at) where not published`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop index outbox_unpublished`.execute(db);
  await sql`create index outbox_unpublished on outbox (destination, next_attempt_at) where not published`.execute(db);
}
