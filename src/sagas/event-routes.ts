// The one routing table: which destinations each event type is delivered to. A new type does not compile without a line.
import type { EventType } from '../domain/catalogue.ts';

export const destinations = { bus: 'bus', temporal: 'temporal' } as const;
/** A start must come before its signals, so a dead letter blocks its order; a handler's must not hold up the others. */
export const afterDeadLetter = { bus: 'continue', temporal: 'block' } as const satisfies Record<
  keyof typeof destinations,
  'block' | 'continue'
>;
const busOnly = [destinations.bus] as const;
const both = [destinations.bus, destinations.temporal] as const;

export const eventRoutes: Readonly<Record<EventType, readonly string[]>> = {
  'user.created': busOnly,
  'user.email_updated': busOnly,
  'order.created': busOnly,
  'order.item_added': busOnly,
  'order.item_removed': busOnly,
  'order.submitted': both,
  'order.cancellation_requested': both,
  'order.cancelled': busOnly,
  'order.confirmed': busOnly,
  'order.failed': busOnly,
  'payment.completed': busOnly,
  'payment.failed': busOnly,
  'payment.refunded': busOnly,
  'payment.voided': busOnly,
  'payment.callback_received': both,
  'inventory.reserved': busOnly,
  'inventory.released': busOnly,
  'saga.resolution_requested': both,
  'saga.resolution_applied': busOnly,
};
