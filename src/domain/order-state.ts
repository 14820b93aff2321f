// What an order is, as the fold of its stream. Pure: the same events give the same state, for ever.
import type { EventOf } from './catalogue.ts';
import { assertNever } from './errors.ts';

export type OrderEventType =
  | 'order.created'
  | 'order.item_added'
  | 'order.item_removed'
  | 'order.submitted'
  | 'order.cancellation_requested'
  | 'order.refund_requested'
  | 'order.cancelled'
  | 'order.refund_due'
  | 'order.confirmed'
  | 'order.failed';
export type OrderEvent = EventOf<OrderEventType>;

export type OrderStatus = 'draft' | 'submitted' | 'confirmed' | 'failed' | 'cancelled';
export type OrderItem = Readonly<{ productId: string; quantity: number; price: number }>;

export type OrderState = Readonly<{
  orderId: string;
  tenantId: string;
  customerId: string;
  currency: string;
  paymentMethod: string;
  status: OrderStatus;
  items: readonly OrderItem[];
  /** Set by order.cancellation_requested; the saga (or the refund) ends it with order.cancelled. */
  cancellation: Readonly<{ reason: string; cancelledBy: string }> | undefined;
  /** Asked for since the confirmation, whatever has become of them. */
  refunds: readonly Readonly<{ refundId: string; amount: number; restock: boolean }>[];
  /** Of a cancelled order: money was found to be held for it, and its refund was asked for. */
  refundIsDue: boolean;
  paymentId: string | undefined;
  failureReason: string | undefined;
}>;

/** Sums in minor units; may exceed what is safe, so a command checks it before it becomes an event. */
export const totalOf = (items: readonly OrderItem[]): number =>
  items.reduce((sum, item) => sum + item.quantity * item.price, 0);

/** `state` is undefined only for the first event. Unknown earlier facts are never guessed: that is a broken stream. */
export function evolveOrder(state: OrderState | undefined, event: OrderEvent): OrderState {
  if (event.eventType === 'order.created') return created(event);
  if (state === undefined) throw new Error(`stream of ${event.aggregateId} begins with ${event.eventType}`);
  switch (event.eventType) {
    case 'order.item_added':
      return { ...state, items: withItem(state.items, event.payload) };
    case 'order.item_removed':
      return { ...state, items: state.items.filter((item) => item.productId !== event.payload.productId) };
    case 'order.submitted':
      return { ...state, status: 'submitted', paymentMethod: event.payload.paymentMethod };
    case 'order.cancellation_requested':
      return { ...state, cancellation: { reason: event.payload.reason, cancelledBy: event.payload.cancelledBy } };
    case 'order.refund_requested': {
      const { refundId, amount, restock } = event.payload;
      return { ...state, refunds: [...state.refunds, { refundId, amount, restock }] };
    }
    case 'order.cancelled':
      return {
        ...state,
        status: 'cancelled',
        cancellation: { reason: event.payload.reason, cancelledBy: event.payload.cancelledBy },
      };
    case 'order.refund_due':
      return { ...state, refundIsDue: true };
    case 'order.confirmed':
      return { ...state, status: 'confirmed', paymentId: event.payload.paymentId };
    case 'order.failed':
      return { ...state, status: 'failed', failureReason: event.payload.reason };
    default:
      return assertNever(event);
  }
}

function created(event: EventOf<'order.created'>): OrderState {
  return {
    orderId: event.payload.orderId,
    tenantId: event.metadata?.tenantId ?? 'default',
    customerId: event.payload.customerId,
    currency: event.payload.currency,
    paymentMethod: event.payload.paymentMethod,
    status: 'draft',
    items: [],
    cancellation: undefined,
    refunds: [],
    refundIsDue: false,
    paymentId: undefined,
    failureReason: undefined,
  };
}

/** A product that is already there grows: one line per product, so that stock is reserved in one row each. */
function withItem(items: readonly OrderItem[], added: OrderItem): readonly OrderItem[] {
  const { productId, quantity, price } = added;
  const known = items.find((item) => item.productId === productId);
  if (known === undefined) return [...items, { productId, quantity, price }];
  return items.map((item) => (item === known ? { ...item, quantity: item.quantity + quantity } : item));
}
