// Lets `rebase-log` move events' places in the log, and only that: a dump that is restored into another cluster brings
// ordering xids from its future.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  await sql`
    create or replace function refuse_event_change() returns trigger language plpgsql as $$
    begin
      if tg_op = 'UPDATE' and current_setting('athyper.rebasing_log', true) = 'on' then
        return null;
      end if;
      raise exception 'events are append-only: % is refused', tg_op using errcode = 'restrict_violation';
    end $$`.execute(db);
  // Whoever sets that variable can still change nothing of what happened.
  await sql`
    create function refuse_event_rewrite() returns trigger language plpgsql as $$
    begin
      if new.ordering_xid <> '3'::xid8
        or to_jsonb(new) - 'ordering_xid' - 'position' is distinct from to_jsonb(old) - 'ordering_xid' - 'position'
      then
        raise exception 'events are append-only: only their place in the log may move'
          using errcode = 'restrict_violation';
      end if;
      return new;
    end $$`.execute(db);
  await sql`
    create trigger events_rebase_only before update on events
      for each row execute function refuse_event_rewrite()`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop trigger events_rebase_only on events`.execute(db);
  await sql`drop function refuse_event_rewrite`.execute(db);
  await sql`
    create or replace function refuse_event_change() returns trigger language plpgsql as $$
    begin
      raise exception 'events are append-only: % is refused', tg_op using errcode = 'restrict_violation';
    end $$`.execute(db);
}
