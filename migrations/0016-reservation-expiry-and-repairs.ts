// Until when a reservation is held and by which saga, how often a saga was repaired, and what `reconcile` looks things
// up by.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // null: written by the release before. The database's clock, never a process's.
  await sql`alter table reservations add column workflow_id text, add column expires_at timestamptz`.execute(db);
  await sql`create index reservations_held on reservations (reservation_id) where state = 'held'`.execute(db);
  // Who repairs a saga has it to himself until then.
  await sql`
    alter table saga_starts add column repairs integer not null default 0, add column repair_until timestamptz`.execute(
    db,
  );
  await sql`create index orders_submitted on orders (order_id) where status = 'submitted'`.execute(db);
  await sql`
    create index orders_to_refund on orders (order_id) where status = 'confirmed' and cancellation_requested`.execute(
    db,
  );
  await sql`create index payments_changed on payments (updated_at)`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop index payments_changed, orders_to_refund, orders_submitted, reservations_held`.execute(db);
  await sql`alter table saga_starts drop column repairs, drop column repair_until`.execute(db);
  await sql`alter table reservations drop column workflow_id, drop column expires_at`.execute(db);
}
