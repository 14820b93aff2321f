// What the clean-up looks for: deliveries that were done long ago, and what the inbox remembers of them.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`create index outbox_done on outbox (published_at) where published`.execute(db);
  await sql`create index inbox_age on inbox (processed_at)`.execute(db);
  // Most rows of these tables are written, changed once and deleted: vacuum by the tens of thousands, not by a fifth.
  await sql`alter table outbox set (autovacuum_vacuum_scale_factor = 0.01)`.execute(db);
  await sql`alter table inbox set (autovacuum_vacuum_scale_factor = 0.05)`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`alter table inbox reset (autovacuum_vacuum_scale_factor)`.execute(db);
  await sql`alter table outbox reset (autovacuum_vacuum_scale_factor)`.execute(db);
  await sql`drop index inbox_age`.execute(db);
  await sql`drop index outbox_done`.execute(db);
}
