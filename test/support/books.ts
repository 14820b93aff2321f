// The books at rest, judged from the tables and from Temporal's list of runs, never from what a call has returned.
import { sql } from 'kysely';
import { expect } from 'vitest';
import { integrationQueue } from '../../src/domain/integration-event.ts';
import { orderSagaId } from '../../src/domain/saga-contract.ts';
import type { Routes } from '../../src/event-store/append.ts';
import { translatedTypes } from '../../src/integration/translate.ts';
import type { Parts } from '../../src/processes/parts.ts';
import { eventRoutes } from '../../src/sagas/event-routes.ts';
import { expectDeliveriesToBalance } from './delivery-books.ts';
import { eventually } from './saga-service.ts';

/** What became of one order: its reservation's state, and its money. */
export type OrderBooks = Readonly<{
  status: string;
  reservation: string | undefined;
  captures: number;
  refunds: number;
  /** Captured less refunded, in minor units. */
  net: number;
}>;

export async function booksOf({ db }: Parts, orderId: string): Promise<OrderBooks> {
  const { rows } = await sql<OrderBooks>`
    select orders.status,
      (select state from reservations where reservations.order_id = orders.order_id) as reservation,
      count(*) filter (where kind = 'capture')::int as captures,
      count(*) filter (where kind = 'refund')::int as refunds,
      coalesce(sum(case kind when 'capture' then ledger_entries.amount else -ledger_entries.amount end), 0)::int as net
    from orders
      left join payments on payments.order_id = orders.order_id
      left join ledger_entries on ledger_entries.payment_id = payments.payment_id
    where orders.order_id = ${orderId}
    group by orders.order_id`.execute(db);
  const [row] = rows;
  if (row === undefined) throw new Error(`there is no order ${orderId}`);
  return row;
}

type BooksOptions = Readonly<{
  /** What `stock()` put there, by product; nobody has changed it since. */
  stocked: Readonly<Record<string, number>>;
  dead?: number;
}>;

/**
 * Waits for the last delivery, and then: every stored event has a done delivery for each destination of its type;
 * stock and money fit the orders' ends; every submitted order has one saga, started once, and each has ended.
 */
export async function expectBooksToBalance(parts: Parts, { stocked, dead = 0 }: BooksOptions): Promise<void> {
  const { db } = parts;
  await expectDeliveriesToBalance(parts, withQueue(parts), dead);
  const orders = await db.selectFrom('orders').select(['order_id', 'status', 'total']).execute();
  for (const { order_id, status, total } of orders) {
    const books = await booksOf(parts, order_id);
    const at = `order ${order_id}, ${status}`;
    expect(['confirmed', 'failed', 'cancelled'], at).toContain(status);
    expect(books.captures, at).toBeLessThanOrEqual(1);
    // What an operator has left held, or settled, carries a reference.
    const byHand = await settledByHand(parts, order_id);
    if (!byHand.money) expect(books.net, at).toBe(status === 'confirmed' ? total : 0);
    if (byHand.stock) continue;
    if (status === 'confirmed') expect(books.reservation, at).toBe('consumed');
    else expect([null, 'released'], at).toContain(books.reservation);
  }

  const { rows: products } = await sql<{ productId: string; onHand: number; reserved: number; sold: number }>`
    select product_id as "productId", on_hand as "onHand", reserved, coalesce((
      select sum(quantity)::int from reservation_items join reservations using (reservation_id)
      where reservations.state = 'consumed' and reservation_items.product_id = products.product_id), 0) as sold
    from products`.execute(db);
  for (const { productId, onHand, reserved, sold } of products) {
    expect({ productId, total: onHand + sold, reserved }).toEqual({
      productId,
      total: stocked[productId],
      reserved: 0,
    });
  }
  const submitted = await db
    .selectFrom('events')
    .select('aggregate_id')
    .where('event_type', '=', 'order.submitted')
    .execute();
  await expectOneSagaEach(
    parts,
    submitted.map((event) => event.aggregate_id),
  );
}

/** Where there is Redis, what others are told of has one delivery more, which a handler behind the bus writes. */
function withQueue({ settings }: Parts): Routes {
  if (settings.redisUrl === undefined) return eventRoutes;
  const more = translatedTypes.map((type) => [type, [...eventRoutes[type], integrationQueue]] as const);
  return { ...eventRoutes, ...Object.fromEntries(more) };
}

async function settledByHand({ db }: Parts, orderId: string): Promise<Readonly<{ money: boolean; stock: boolean }>> {
  const settled = async (table: 'payments' | 'reservations'): Promise<boolean> => {
    const rows = await db
      .selectFrom(table)
      .select('settled_by_hand')
      .where('order_id', '=', orderId)
      .where('settled_by_hand', 'is not', null)
      .execute();
    return rows.length > 0;
  };
  return { money: await settled('payments'), stock: await settled('reservations') };
}

/** Once, in our rows and in Temporal, and it has ended. */
async function expectOneSagaEach({ db, temporal }: Parts, orderIds: readonly string[]): Promise<void> {
  for (const orderId of orderIds) {
    const starts = await db
      .selectFrom('saga_starts')
      .select(['state', 'run_id'])
      .where('workflow_id', '=', orderSagaId(orderId))
      .execute();
    expect(starts).toMatchObject([{ state: 'started' }]);
    const { workflowExecutionInfo: info } = await eventually(async () => {
      const { raw } = await temporal.workflow.getHandle(orderSagaId(orderId)).describe();
      return raw.workflowExecutionInfo?.closeTime ? raw : undefined;
    });
    // The latest run is the first: there was no other.
    expect(info?.execution?.runId).toBe(starts[0]?.run_id ?? info?.execution?.runId);
    expect(info?.firstRunId ?? info?.execution?.runId).toBe(info?.execution?.runId);
  }
}

/** All runs of a workflow id, which Temporal lists a moment after they began. */
export async function runsOf({ temporal }: Parts, workflowId: string): Promise<readonly string[]> {
  return await eventually(async () => {
    const runs: string[] = [];
    for await (const { runId } of temporal.workflow.list({ query: `WorkflowId = "${workflowId}"` })) runs.push(runId);
    return runs.length === 0 ? undefined : runs;
  });
}
