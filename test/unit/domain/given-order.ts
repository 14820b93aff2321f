// given(what has happened).when(a command).records(these events), or isRefused, or recordsNothing.
import { expect } from 'vitest';
import type { EventOf, EventPayload } from '../../../src/domain/catalogue.ts';
import { DomainError, type DomainErrorCode } from '../../../src/domain/errors.ts';
import type { EventContext } from '../../../src/domain/event.ts';
import { Money } from '../../../src/domain/money.ts';
import type { OrderEvent, OrderEventType, OrderItem } from '../../../src/domain/order-state.ts';
import { EventSourcedOrder } from '../../../src/domain/order.ts';

export const orderId = '0190f3a4-0000-7000-8000-000000000001';
export const at = new Date('2026-11-23T12:00:00.000Z');
export const eur = (amount: number): Money => Money.of(amount, 'EUR');

export function testContext(): EventContext {
  let events = 0;
  return { metadata: { tenantId: 'acme', userId: 'u-1' }, nextEventId: () => `event-${++events}`, now: () => at };
}

function event<N extends OrderEventType>(eventType: N, payload: EventPayload<N>): OrderEvent {
  const metadata = { tenantId: 'acme' };
  return {
    eventId: `given-${eventType}`,
    eventType,
    occurredAt: at,
    aggregateId: orderId,
    aggregateType: 'order',
    payload,
    metadata,
  } as unknown as EventOf<OrderEventType>;
}

export const created = event('order.created', {
  orderId,
  customerId: 'c-1',
  currency: 'EUR',
  paymentMethod: 'pm_ok',
});
export const added = (productId: string, quantity: number, price: number): OrderEvent =>
  event('order.item_added', { orderId, productId, quantity, price });
export const removed = (productId: string): OrderEvent => event('order.item_removed', { orderId, productId });
export const submitted = (items: readonly OrderItem[], total: number): OrderEvent =>
  event('order.submitted', {
    orderId,
    customerId: 'c-1',
    items: [...items],
    total,
    currency: 'EUR',
    paymentMethod: 'pm_ok',
  });
export const cancellationRequested = event('order.cancellation_requested', {
  orderId,
  reason: 'changed my mind',
  cancelledBy: 'customer',
});
export const cancelled = event('order.cancelled', {
  orderId,
  customerId: 'c-1',
  reason: 'changed my mind',
  cancelledBy: 'customer',
});
export const confirmed = event('order.confirmed', { orderId, paymentId: 'p-1' });
export const failed = event('order.failed', { orderId, reason: 'out-of-stock: lamp' });

type Recorded = readonly [eventType: OrderEventType, payload: Readonly<Record<string, unknown>>];
type Outcome = Readonly<{
  records(...events: readonly Recorded[]): EventSourcedOrder;
  recordsNothing(): EventSourcedOrder;
  /** And then the order is as it was. */
  isRefused(code: DomainErrorCode, field?: string): void;
  /** The refusal's code, or what was recorded, or nothing. */
  summary(): string;
}>;

export function given(...events: readonly OrderEvent[]): {
  when(command: (order: EventSourcedOrder) => void): Outcome;
} {
  return {
    when(command) {
      const order = EventSourcedOrder.fromEvents(events, testContext());
      const before = order.state;
      let thrown: unknown;
      try {
        command(order);
      } catch (error) {
        thrown = error;
      }
      const recorded = order.getUncommittedEvents().map(({ eventType, payload }) => [eventType, payload]);
      const expectRefused = (): DomainError => {
        expect(thrown).toBeInstanceOf(DomainError);
        expect(recorded).toEqual([]);
        expect(order.state).toBe(before);
        expect(order.version).toBe(events.length);
        return thrown as DomainError;
      };
      const records = (...expected: readonly Recorded[]): EventSourcedOrder => {
        expect(thrown).toBeUndefined();
        expect(recorded).toEqual(expected);
        return order;
      };
      return {
        records,
        recordsNothing: () => records(),
        isRefused(code, field) {
          const { code: refused, field: named } = expectRefused();
          expect({ code: refused, field: named }).toEqual({ code, field });
        },
        summary() {
          if (thrown !== undefined) return expectRefused().code;
          return recorded.map(([eventType]) => String(eventType)).join() || 'nothing';
        },
      };
    },
  };
}
