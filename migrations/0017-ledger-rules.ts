// What no code and no hand may do to the money: the ledger's own rules, by trigger. What was there before is not judged.
import { sql, type Kysely } from 'kysely';

export async function up(db: Kysely<unknown>): Promise<void> {
  // An intent that is gone is no tombstone any more, so payments stay as well.
  await sql`
    create function refuse_ledger_change() returns trigger language plpgsql as $$
    begin
      raise exception '% is append-only: % is refused', tg_table_name, tg_op using errcode = 'restrict_violation';
    end $$`.execute(db);
  await sql`
    create trigger ledger_entries_append_only before update or delete or truncate on ledger_entries
      for each statement execute function refuse_ledger_change()`.execute(db);
  await sql`
    create trigger refunds_append_only before update or delete or truncate on refunds
      for each statement execute function refuse_ledger_change()`.execute(db);
  await sql`
    create trigger payments_stay before delete or truncate on payments
      for each statement execute function refuse_ledger_change()`.execute(db);

  // Voided, declined and refunded are for good; what was agreed when the intent was made never changes.
  await sql`
    create function check_payment_change() returns trigger language plpgsql as $$
    begin
      if row(new.payment_id, new.tenant_id, new.order_id, new.idempotency_key, new.amount, new.currency, new.method)
        is distinct from
        row(old.payment_id, old.tenant_id, old.order_id, old.idempotency_key, old.amount, old.currency, old.method)
      then
        raise exception 'what payment % was made for never changes', old.payment_id using errcode = 'check_violation';
      end if;
      if new.status <> old.status and (old.status, new.status) not in
        (('pending', 'charged'), ('pending', 'declined'), ('pending', 'voided'), ('charged', 'refunded'))
      then
        raise exception 'payment % is %: it cannot become %', old.payment_id, old.status, new.status
          using errcode = 'check_violation';
      end if;
      return new;
    end $$`.execute(db);
  await sql`
    create trigger payments_one_way before update on payments
      for each row execute function check_payment_change()`.execute(db);

  // The payment's row is locked, so that two refunds at once are judged one after the other.
  await sql`
    create function check_ledger_entry() returns trigger language plpgsql as $$
    declare
      payment payments;
      held bigint;
    begin
      select * into payment from payments where payment_id = new.payment_id for update;
      select coalesce(sum(case kind when 'capture' then amount else -amount end), 0) into held
        from ledger_entries where payment_id = new.payment_id;
      if new.currency <> payment.currency then
        raise exception 'payment % is in %, not in %', new.payment_id, payment.currency, new.currency
          using errcode = 'check_violation';
      end if;
      if new.kind = 'capture' and payment.status <> 'charged' then
        raise exception 'payment % is %: it cannot be captured', new.payment_id, payment.status
          using errcode = 'check_violation';
      end if;
      if new.kind in ('refund', 'settlement') and new.amount > held then
        raise exception 'only % of payment % is held, % cannot be given back', held, new.payment_id, new.amount
          using errcode = 'check_violation';
      end if;
      return new;
    end $$`.execute(db);
  await sql`
    create trigger ledger_entries_fit before insert on ledger_entries
      for each row execute function check_ledger_entry()`.execute(db);

  // At the commit the payment's row, its refunds and its entries tell the same, whichever of them was written. What an
  // operator has settled by other means went past the gateway: it has an entry and no refund.
  await sql`
    create function check_payment_books() returns trigger language plpgsql as $$
    declare
      payment payments;
      was_charged boolean;
      captured bigint;
      given_back bigint;
      refunded bigint;
      promised bigint;
    begin
      select * into payment from payments where payment_id = new.payment_id;
      was_charged := payment.status in ('charged', 'refunded');
      select coalesce(sum(amount) filter (where kind = 'capture'), 0),
             coalesce(sum(amount) filter (where kind in ('refund', 'settlement')), 0),
             coalesce(sum(amount) filter (where kind = 'refund'), 0)
        into captured, given_back, refunded from ledger_entries where payment_id = new.payment_id;
      select coalesce(sum(amount), 0) into promised from refunds where payment_id = new.payment_id;
      if captured <> payment.amount * was_charged::int
        or given_back <> payment.refunded
        or promised <> refunded
        or (payment.status = 'refunded' and payment.refunded < payment.amount)
        or (payment.status = 'charged' and payment.refunded = payment.amount and payment.amount > 0)
      then
        raise exception 'the books of payment % do not balance: it is %, % captured, % refunded', new.payment_id,
          payment.status, captured, given_back using errcode = 'check_violation';
      end if;
      return null;
    end $$`.execute(db);
  await sql`
    create constraint trigger payments_balance after insert or update on payments
      deferrable initially deferred for each row execute function check_payment_books()`.execute(db);
  await sql`
    create constraint trigger refunds_balance after insert on refunds
      deferrable initially deferred for each row execute function check_payment_books()`.execute(db);
  await sql`
    create constraint trigger ledger_entries_balance after insert on ledger_entries
      deferrable initially deferred for each row execute function check_payment_books()`.execute(db);
}

export async function down(db: Kysely<unknown>): Promise<void> {
  await sql`drop trigger ledger_entries_balance on ledger_entries`.execute(db);
  await sql`drop trigger refunds_balance on refunds`.execute(db);
  await sql`drop trigger payments_balance on payments`.execute(db);
  await sql`drop trigger ledger_entries_fit on ledger_entries`.execute(db);
  await sql`drop trigger payments_one_way on payments`.execute(db);
  await sql`drop trigger payments_stay on payments`.execute(db);
  await sql`drop trigger refunds_append_only on refunds`.execute(db);
  await sql`drop trigger ledger_entries_append_only on ledger_entries`.execute(db);
  await sql`
    drop function check_payment_books, check_ledger_entry, check_payment_change, refuse_ledger_change`.execute(db);
}
