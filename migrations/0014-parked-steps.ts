// What an operator may do about a parked step, and the reference of what was settled by hand instead of by a saga.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    alter table saga_steps
      add column undoing boolean not null default false,
      add column by_hand boolean not null default false,
      add column resolution text`.execute(db);
  await sql`create index saga_steps_parked on saga_steps (workflow_id) where state = 'parked'`.execute(db);
  await sql`alter table payments add column settled_by_hand text`.execute(db);
  await sql`alter table reservations add column settled_by_hand text`.execute(db);
  // Money that went back by other means than the gateway: the books still say that nothing is held, and why.
  await sql`
    alter table ledger_entries
      add column reference text,
      drop constraint ledger_entries_kind_check,
      add constraint ledger_entries_kind_check check (kind in ('capture', 'refund', 'settlement')),
      add constraint ledger_settlement_has_reference check (kind <> 'settlement' or reference is not null)`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  // The schema of before has no word for it; the sums stay what they are.
  await sql`alter table ledger_entries drop constraint ledger_settlement_has_reference`.execute(db);
  await sql`update ledger_entries set kind = 'refund' where kind = 'settlement'`.execute(db);
  await sql`
    alter table ledger_entries
      drop column reference,
      drop constraint ledger_entries_kind_check,
      add constraint ledger_entries_kind_check check (kind in ('capture', 'refund'))`.execute(db);
  await sql`alter table reservations drop column settled_by_hand`.execute(db);
  await sql`alter table payments drop column settled_by_hand`.execute(db);
  await sql`drop index saga_steps_parked`.execute(db);
  await sql`alter table saga_steps drop column resolution, drop column by_hand, drop column undoing`.execute(db);
}
