// The books in themselves: payments against ledger, stock counters against reservations. Only reported: rows that are
// written together differ by hand or by a bug, and neither says which of them is right.
import { sql } from 'kysely';
import type { Db } from '../platform/database.ts';
import { beforeAllIds, inPages, type Comparison, type Difference, type Scope } from './difference.ts';

export const compareLedger = ({ db }: Readonly<{ db: Db }>): Comparison =>
  async function* find(scope) {
    yield* comparePaymentsWithLedger(db, scope);
    yield* compareCounters(db, scope);
    yield* compareReservationStates(db, scope);
  };

type LedgerRow = Readonly<{
  key: string;
  tenantId: string;
  orderId: string;
  status: string;
  amount: string;
  refunded: string;
  captured: string;
  returned: string;
  refunds: string;
  crossed: number;
}>;

/** One snapshot a page, and a payment's rows are written in one transaction: nothing here is under way. */
async function* comparePaymentsWithLedger(db: Db, scope: Scope): AsyncGenerator<Difference> {
  const since = scope.sinceHours ?? null;
  const pages = inPages(scope, beforeAllIds, async (after, limit) => {
    const { rows } = await sql<LedgerRow>`
      select * from (
        select payment_id as key, payments.tenant_id as "tenantId", order_id as "orderId", status,
          payments.amount::text, payments.refunded::text,
          coalesce(sum(entry.amount) filter (where kind = 'capture'), 0)::text as captured,
          coalesce(sum(entry.amount) filter (where kind <> 'capture'), 0)::text as returned,
          coalesce(sum(entry.amount) filter (where kind = 'refund'), 0)::text as by_gateway,
          (select coalesce(sum(refunds.amount), 0) from refunds where refunds.payment_id = payments.payment_id)::text
            as refunds,
          count(*) filter (where entry.currency <> payments.currency
            or (kind = 'capture') <> (debit_account = 'customer:' || payment_id)
            or (kind <> 'capture') <> (credit_account = 'customer:' || payment_id))::int as crossed
        from payments left join ledger_entries entry using (payment_id)
        where payment_id > ${after}::uuid
          and (${since}::int is null or payments.updated_at > now() - make_interval(hours => ${since}::int))
        group by payments.payment_id
      ) books
      where captured <> case when status in ('charged', 'refunded') then amount else '0' end
        or returned <> refunded or refunds <> by_gateway or crossed > 0
      order by key
      limit ${limit}`.execute(db);
    return rows;
  });
  for await (const page of pages) for (const row of page) yield ledgerDifference(row);
}

function ledgerDifference(row: LedgerRow): Difference {
  const crossed = row.crossed > 0 ? `, ${row.crossed} entries are between the wrong accounts` : '';
  return {
    kind: 'ledger',
    ids: { payment: row.key, order: row.orderId, tenant: row.tenantId },
    is: `the payment is ${row.status} with ${row.amount}, ${row.refunded} of it refunded (${row.refunds} by its refunds); the ledger has ${row.captured} captured and ${row.returned} refunded${crossed}`,
    right: 'payment, refunds and ledger say the same, and no more is refunded than was captured',
  };
}

type CounterRow = Readonly<{ key: string; tenantId: string; productId: string; reserved: number; held: number }>;

/** Counter and reservation change in one transaction, and are read here in one statement. */
async function* compareCounters(db: Db, scope: Scope): AsyncGenerator<Difference> {
  const { rows } = await sql<CounterRow>`
    select products.tenant_id as "tenantId", products.product_id as "productId", reserved,
      coalesce(held.quantity, 0)::int as held
    from products left join (
      select tenant_id, product_id, sum(quantity) as quantity
      from reservations join reservation_items using (reservation_id)
      where state = 'held'
      group by tenant_id, product_id) held using (tenant_id, product_id)
    where reserved <> coalesce(held.quantity, 0)
    order by tenant_id, product_id
    limit 1000`.execute(db);
  scope.onPage();
  for (const { tenantId, productId, reserved, held } of rows) {
    yield {
      kind: 'stock-counter',
      ids: { product: productId, tenant: tenantId },
      is: `${reserved} are counted as reserved, held reservations have ${held}`,
      right: 'both are the same',
    };
  }
}

type StateRow = Readonly<{ key: string; tenantId: string; orderId: string; state: string | null; status: string }>;

/** A confirmation consumes the reservation in its transaction; an order that ended otherwise has consumed nothing. */
async function* compareReservationStates(db: Db, scope: Scope): AsyncGenerator<Difference> {
  const since = scope.sinceHours ?? null;
  const pages = inPages(scope, beforeAllIds, async (after, limit) => {
    const { rows } = await sql<StateRow>`
      select orders.order_id as key, orders.order_id as "orderId", orders.tenant_id as "tenantId", state, status
      from orders left join reservations using (order_id)
      where orders.order_id > ${after}::uuid
        and (${since}::int is null or orders.updated_at > now() - make_interval(hours => ${since}::int))
        and orders.updated_at < now() - make_interval(secs => ${scope.graceSeconds})
        -- What an operator has settled by hand has a reference, and is not for us.
        and reservations.settled_by_hand is null
        -- A refund puts the goods back before its order is cancelled, and held ones are the sweep's.
        and (status = 'confirmed' and not cancellation_requested and coalesce(state, 'none') not in ('consumed', 'held')
            and not exists (
              select from events
              where events.aggregate_id = orders.order_id::text and events.event_type = 'order.refund_requested'
                and state = 'released' and (events.payload ->> 'restock')::boolean)
          or status in ('failed', 'cancelled') and state = 'consumed')
      order by orders.order_id
      limit ${limit}`.execute(db);
    return rows;
  });
  for await (const page of pages) {
    for (const { orderId, tenantId, state, status } of page) {
      yield {
        kind: 'reservation-state',
        ids: { order: orderId, tenant: tenantId },
        is: `the order is ${status} and its reservation is ${state ?? 'not there'}`,
        right: status === 'confirmed' ? 'consumed' : 'released',
      };
    }
  }
}
