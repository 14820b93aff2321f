// The orders row: the inline projection of an order's stream, written in the transaction of its events.
import type { Tx } from '../platform/database.ts';
import { totalOf, type OrderEvent, type OrderEventType, type OrderState } from '../domain/order-state.ts';

const changesItems: ReadonlySet<OrderEventType> = new Set(['order.item_added', 'order.item_removed']);

/**
 * Writes the row, and its lines where `events` changed them, as the state says. `version` is the stream's after them.
 * Never back in time: a step that is repeated late appends nothing new, and what it knew must not overwrite the row.
 */
export async function projectOrder(
  tx: Tx,
  state: OrderState,
  version: number,
  events: readonly OrderEvent[],
): Promise<void> {
  const changing = changingColumns(state, version);
  const written = await tx
    .insertInto('orders')
    .values({
      ...lastingColumns(state),
      // payment.completed sets these two by its handler, which may come before or after the confirmation.
      payment_id: state.paymentId ?? null,
      paid_at: null,
      ...changing,
    })
    .onConflict((conflict) =>
      conflict
        .column('order_id')
        .doUpdateSet((eb) => ({
          ...changing,
          payment_id: eb.fn.coalesce(eb.ref('excluded.payment_id'), eb.ref('orders.payment_id')),
          updated_at: eb.fn('now', []),
        }))
        .whereRef('orders.version', '<', 'excluded.version'),
    )
    .executeTakeFirst();
  if ((written.numInsertedOrUpdatedRows ?? 0n) === 0n) return;
  if (!events.some(({ eventType }) => changesItems.has(eventType))) return;
  await writeLines(tx, state);
}

/**
 * Writes row and lines as the stream says, whatever stood there. The caller has locked the stream's row, so that nobody
 * appends meanwhile. `paidAt` is from the payment's own stream, and null leaves what is there.
 */
export async function projectOrderAgain(
  tx: Tx,
  state: OrderState,
  version: number,
  paidAt: Date | null,
): Promise<void> {
  const columns = { ...lastingColumns(state), ...changingColumns(state, version), payment_id: state.paymentId ?? null };
  await tx
    .insertInto('orders')
    .values({ ...columns, paid_at: paidAt })
    .onConflict((conflict) =>
      conflict.column('order_id').doUpdateSet((eb) => ({
        ...columns,
        payment_id: eb.fn.coalesce(eb.ref('excluded.payment_id'), eb.ref('orders.payment_id')),
        paid_at: eb.fn.coalesce(eb.ref('excluded.paid_at'), eb.ref('orders.paid_at')),
        updated_at: eb.fn('now', []),
      })),
    )
    .execute();
  await writeLines(tx, state);
}

/** The columns in which a row may differ from its stream, as they should be. */
export const changingColumns = (state: OrderState, version: number) => ({
  status: state.status,
  total: totalOf(state.items),
  payment_method: state.paymentMethod,
  failure_reason: state.failureReason ?? null,
  cancellation_requested: state.cancellation !== undefined,
  version,
});

export const lastingColumns = ({ orderId, tenantId, customerId, currency }: OrderState) => ({
  order_id: orderId,
  tenant_id: tenantId,
  customer_id: customerId,
  currency,
});

async function writeLines(tx: Tx, state: OrderState): Promise<void> {
  await tx.deleteFrom('order_items').where('order_id', '=', state.orderId).execute();
  if (state.items.length === 0) return;
  const lines = state.items.map((item, index) => ({
    order_id: state.orderId,
    product_id: item.productId,
    line: index + 1,
    quantity: item.quantity,
    price: item.price,
  }));
  await tx.insertInto('order_items').values(lines).execute();
}
