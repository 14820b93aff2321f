// Every event type of the service, with today's schema. A new shape is a new version, never an edit of an old one.
import { z } from 'zod';
import type { DomainEvent, EventCatalogue } from './event.ts';
import { resolutionActions } from './saga-resolution.ts';
import { upcast } from './upcasting.ts';

const amount = z.int().min(0);
const quantity = z.int().min(1);
const currency = z.string().regex(/^[A-Z]{3}$/);
const orderItem = z.object({ productId: z.string(), quantity, price: amount });
const reservedItem = z.object({ productId: z.string(), quantity });
const resolution = z.object({
  orderId: z.string(),
  workflowId: z.string(),
  step: z.string(),
  action: z.enum(resolutionActions),
  reference: z.string().nullable(),
  resolvedBy: z.string(),
});
const resolutionOfAny = resolution.extend({ orderId: z.string().nullable() });
const addressOfUser = { userId: z.string(), email: z.string() };
const paymentOfOrder = { paymentId: z.string(), orderId: z.string() };

export const catalogue = {
  'user.created': {
    version: 1,
    schema: z.object({ userId: z.string(), email: z.string(), tenantId: z.string() }),
  },
  'user.email_updated': {
    version: 1,
    schema: z.object({ userId: z.string(), oldEmail: z.string(), newEmail: z.string() }),
  },
  'user.email_verified': { version: 1, schema: z.object(addressOfUser) },
  /** `reminder` counts from 1. */
  'user.verification_reminder_due': {
    version: 1,
    schema: z.object({ ...addressOfUser, reminder: z.int().min(1) }),
  },
  'user.verification_expired': { version: 1, schema: z.object(addressOfUser) },
  'order.created': {
    version: 1,
    schema: z.object({ orderId: z.string(), customerId: z.string(), currency, paymentMethod: z.string() }),
  },
  'order.item_added': {
    version: 1,
    schema: z.object({ orderId: z.string(), productId: z.string(), quantity, price: amount }),
  },
  'order.item_removed': { version: 1, schema: z.object({ orderId: z.string(), productId: z.string() }) },
  'order.submitted': {
    version: 1,
    schema: z.object({
      orderId: z.string(),
      customerId: z.string(),
      items: z.array(orderItem).min(1),
      total: amount,
      currency,
      paymentMethod: z.string(),
    }),
  },
  'order.cancellation_requested': {
    version: 1,
    schema: z.object({ orderId: z.string(), reason: z.string(), cancelledBy: z.string() }),
  },
  'order.refund_requested': {
    version: 1,
    schema: z.object({
      orderId: z.string(),
      refundId: z.string(),
      paymentId: z.string(),
      amount: amount.min(1),
      restock: z.boolean(),
      reason: z.string(),
      requestedBy: z.string(),
    }),
  },
  'order.cancelled': {
    version: 1,
    schema: z.object({ orderId: z.string(), customerId: z.string(), reason: z.string(), cancelledBy: z.string() }),
  },
  /** Cancelled, and money is held for it all the same. The order's own reason and actor, so that the refund needs no more. */
  'order.refund_due': {
    version: 1,
    schema: z.object({ orderId: z.string(), reason: z.string(), cancelledBy: z.string() }),
  },
  'order.confirmed': { version: 1, schema: z.object({ orderId: z.string(), paymentId: z.string() }) },
  'order.failed': { version: 1, schema: z.object({ orderId: z.string(), reason: z.string() }) },
  'payment.completed': {
    version: 1,
    schema: z.object({ ...paymentOfOrder, amount, currency, method: z.string() }),
  },
  'payment.failed': { version: 1, schema: z.object({ ...paymentOfOrder, reason: z.string() }) },
  'payment.refunded': { version: 1, schema: z.object({ ...paymentOfOrder, reason: z.string(), amount }) },
  'payment.refund_failed': {
    version: 1,
    schema: z.object({ ...paymentOfOrder, refundId: z.string(), amount, reason: z.string() }),
  },
  'payment.voided': { version: 1, schema: z.object({ ...paymentOfOrder, reason: z.string() }) },
  'payment.callback_received': {
    version: 1,
    schema: z.object({ ...paymentOfOrder, outcome: z.enum(['completed', 'failed']), callbackId: z.string() }),
  },
  'inventory.reserved': { version: 1, schema: z.object({ orderId: z.string(), items: z.array(reservedItem) }) },
  'inventory.released': { version: 1, schema: z.object({ orderId: z.string(), items: z.array(reservedItem) }) },
  // Asked for over HTTP; and acted on by the saga, whoever asked, be it an order's or not.
  'saga.resolution_requested': {
    version: 2,
    schema: resolutionOfAny,
    upcasters: { 1: upcast({ from: resolution, to: resolutionOfAny, by: (payload) => payload }) },
  },
  'saga.resolution_applied': { version: 1, schema: resolutionOfAny },
} as const satisfies EventCatalogue;

export type EventType = keyof typeof catalogue;
export type EventPayload<N extends EventType> = Readonly<z.infer<(typeof catalogue)[N]['schema']>>;
/** A union over N, so that a `switch` on `eventType` narrows the payload. */
export type EventOf<N extends EventType> = { [K in N]: DomainEvent<EventPayload<K>, K> }[N];
export type CatalogueEvent = EventOf<EventType>;
