// What a payment's stream says of its refunds; they come in parts.
import { sql } from 'kysely';
import type { CatalogueEvent } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import { refundEventId } from '../payments/available-for-refund.ts';

/** Minor units. */
export const refundedIn = (stream: readonly StoredEvent[]): number =>
  (stream as readonly StoredEvent<CatalogueEvent>[]).reduce(
    (sum, event) => (event.eventType === 'payment.refunded' ? sum + event.payload.amount : sum),
    0,
  );

/** The same in SQL, beside a row of `payments`. */
export const refundedInStream = sql<number>`(
  select coalesce(sum((events.payload ->> 'amount')::bigint), 0) from events
  where events.aggregate_id = payments.payment_id::text and events.event_type = 'payment.refunded')`;

/** What became of a refund that has a run of its own. @returns undefined where nothing is said yet */
export function outcomeOf(
  stream: readonly StoredEvent[],
  paymentId: string,
  refundId: string,
): 'refunded' | 'failed' | undefined {
  const events = stream as readonly StoredEvent<CatalogueEvent>[];
  if (events.some(({ eventId }) => eventId === refundEventId(paymentId, refundId))) return 'refunded';
  const hasFailed = events.some(
    (event) => event.eventType === 'payment.refund_failed' && event.payload.refundId === refundId,
  );
  return hasFailed ? 'failed' : undefined;
}
