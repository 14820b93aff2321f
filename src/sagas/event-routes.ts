// The one routing table: which destinations each event type is delivered to. A new type does not compile without a line.
import type { EventType } from '../domain/catalogue.ts';
import { integrationQueue } from '../domain/integration-event.ts';

export const destinations = { bus: 'bus', temporal: 'temporal' } as const;
/**
 * A start must come before its signals, so a dead letter blocks its order; a handler's must not hold up the others. Also
 * of the destination that no route names, because a handler writes its deliveries.
 */
export const afterDeadLetter = {
  bus: 'continue',
  temporal: 'block',
  [integrationQueue]: 'continue',
} as const satisfies Readonly<Record<string, 'block' | 'continue'>>;
/** Which an operator may hold, or send dead letters to again. */
export const isDestination = (name: string): boolean => Object.hasOwn(afterDeadLetter, name);
const busOnly = [destinations.bus] as const;
const both = [destinations.bus, destinations.temporal] as const;

const routes = {
  'user.created': both,
  'user.email_updated': both,
  'user.email_verified': both,
  'user.verification_reminder_due': busOnly,
  'user.verification_expired': busOnly,
  'order.created': busOnly,
  'order.item_added': busOnly,
  'order.item_removed': busOnly,
  'order.submitted': both,
  'order.cancellation_requested': both,
  'order.refund_requested': both,
  'order.cancelled': busOnly,
  'order.refund_due': both,
  'order.confirmed': busOnly,
  'order.failed': busOnly,
  'payment.completed': busOnly,
  'payment.failed': busOnly,
  'payment.refunded': busOnly,
  'payment.refund_failed': busOnly,
  'payment.voided': busOnly,
  'payment.callback_received': both,
  'inventory.reserved': busOnly,
  'inventory.released': busOnly,
  'saga.resolution_requested': both,
  'saga.resolution_applied': busOnly,
} as const satisfies Readonly<Record<EventType, readonly string[]>>;

export const eventRoutes: Readonly<Record<EventType, readonly string[]>> = routes;

type To<D extends string> = { [N in EventType]: D extends (typeof routes)[N][number] ? N : never }[EventType];
/** Those that start or signal a saga: the table in saga-routes.ts must have exactly these, or it does not compile. */
export type SagaEventType = To<typeof destinations.temporal>;
