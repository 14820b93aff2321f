// What may still be promised of a payment, where refunds that were asked for may be under way, done or refused.
import { derivedId } from '../domain/ids.ts';
import type { StoredEvent } from '../domain/event.ts';
import type { CatalogueEvent } from '../domain/catalogue.ts';
import type { EventStore } from '../event-store/event-store.ts';
import { heldBy, type PaymentGateway } from './payment-gateway.ts';

/** Of the `payment.refunded` that says that a refund which was asked for is done. */
export const refundEventId = (paymentId: string, refundId: string): string =>
  derivedId('event', 'payment.refunded', paymentId, refundId);

type Requested = readonly Readonly<{ refundId: string; amount: number }>[];

/**
 * Minor units. `requested` must have been read before: a refund that runs meanwhile is then counted once, as asked for
 * or as done, and the smaller of what the log and what the gateway says is right.
 * @throws UnavailableError where the gateway gives no answer
 */
export async function availableForRefund(
  { store, gateway }: Readonly<{ store: EventStore; gateway: PaymentGateway }>,
  paymentId: string,
  requested: Requested,
): Promise<number> {
  const stream = (await store.getEvents(paymentId)) as readonly StoredEvent<CatalogueEvent>[];
  const payment = await gateway.get(paymentId);
  if (payment === undefined) return 0;
  let promised = 0;
  const doneIds = new Set(requested.map(({ refundId }) => refundEventId(paymentId, refundId)));
  const failed = new Set<string>();
  for (const event of stream) {
    if (event.eventType === 'payment.refund_failed') failed.add(event.payload.refundId);
    // Nobody asked for it by a request: an undo, a cancellation.
    if (event.eventType === 'payment.refunded' && !doneIds.has(event.eventId)) promised += event.payload.amount;
  }
  for (const { refundId, amount } of requested) if (!failed.has(refundId)) promised += amount;
  return Math.max(0, Math.min(payment.amount - promised, heldBy(payment)));
}
