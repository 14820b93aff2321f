// The plain reactions to events: what needs no workflow. Each has a stable name, so its effect happens once.
import { sql } from 'kysely';
import type { catalogue } from '../domain/catalogue.ts';
import type { EventBus } from '../bus/durable-event-bus.ts';

/** Never rename one: the inbox knows handlers by these. */
const handlerNames = { recordPayment: 'orders.record-payment' } as const;

/** @returns a function that removes them again */
export function registerEventHandlers(eventBus: EventBus<typeof catalogue>): () => void {
  const unsubscribes = [
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
      { name: handlerNames.recordPayment },
    ),
  ];
  return () => {
    for (const unsubscribe of unsubscribes) unsubscribe();
  };
}
