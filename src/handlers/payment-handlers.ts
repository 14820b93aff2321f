// What payments mean to the order's row.
import { sql } from 'kysely';
import type { EventBus } from '../bus/durable-event-bus.ts';
import type { Unsubscribe } from '../bus/event-bus.ts';
import type { catalogue } from '../domain/catalogue.ts';

/** Never rename one: the inbox knows handlers by these. */
const names = { recordPayment: 'orders.record-payment' } as const;

export function subscribeToPayments(eventBus: EventBus<typeof catalogue>): readonly Unsubscribe[] {
  return [
    // The order's stream says nothing of payments, so this changes the row without a new version.
    eventBus.subscribe(
      'payment.completed',
      async ({ payload, occurredAt }, { tx }) => {
        await tx
          .updateTable('orders')
          .set({ payment_id: payload.paymentId, paid_at: occurredAt, updated_at: sql<Date>`now()` })
          .where('order_id', '=', payload.orderId)
          .execute();
      },
      { name: names.recordPayment },
    ),
  ];
}
