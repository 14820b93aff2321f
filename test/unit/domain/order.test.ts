// What may happen to an order: every command in every state that an order can be in.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Money } from '../../../src/domain/money.ts';
import type { OrderEvent } from '../../../src/domain/order-state.ts';
import { EventSourcedOrder } from '../../../src/domain/order.ts';
import {
  added,
  at,
  cancellationRequested,
  cancelled,
  confirmed,
  created,
  eur,
  failed,
  given,
  orderId,
  removed,
  submitted,
  testContext,
} from './given-order.ts';

const lamp = { productId: 'lamp', quantity: 2, price: 1500 };
const filled = [created, added('lamp', 2, 1500)];
const placed = [...filled, submitted([lamp], 3000)];

describe('creating an order', () => {
  it('records who wants to buy in which currency, as version 1 of a new stream', () => {
    const input = { orderId, customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok' };
    const order = EventSourcedOrder.create(input, testContext());
    expect(order.getUncommittedEvents()).toEqual([
      {
        eventId: 'event-1',
        eventType: 'order.created',
        occurredAt: at,
        aggregateId: orderId,
        aggregateType: 'order',
        payload: input,
        metadata: { tenantId: 'acme', userId: 'u-1' },
      },
    ]);
    expect(order.version).toBe(0);
    expect(order.state).toMatchObject({ status: 'draft', items: [], tenantId: 'acme' });
    expect(order.total.equals(eur(0))).toBe(true);
  });
});

describe('adding an item', () => {
  it('records product, quantity and price', () => {
    const order = given(created)
      .when((it) => it.addItem('lamp', 2, eur(1500)))
      .records(['order.item_added', { orderId, productId: 'lamp', quantity: 2, price: 1500 }]);
    expect(order.state.items).toEqual([lamp]);
    expect(order.total.getAmount()).toBe(3000);
  });

  it('of a product that is there already makes its line longer, and no second line', () => {
    const order = given(...filled)
      .when((it) => it.addItem('lamp', 3, eur(1500)))
      .records(['order.item_added', { orderId, productId: 'lamp', quantity: 3, price: 1500 }]);
    expect(order.state.items).toEqual([{ productId: 'lamp', quantity: 5, price: 1500 }]);
    expect(order.total.getAmount()).toBe(7500);
  });

  it('at another price than the one that is in the order is refused', () => {
    given(...filled)
      .when((it) => it.addItem('lamp', 1, eur(1400)))
      .isRefused('price-mismatch', 'price');
  });

  it('at a new price is possible once the product was removed', () => {
    const order = given(...filled, removed('lamp'))
      .when((it) => it.addItem('lamp', 1, eur(1400)))
      .records(['order.item_added', { orderId, productId: 'lamp', quantity: 1, price: 1400 }]);
    expect(order.total.getAmount()).toBe(1400);
  });

  it('in another currency than the order is refused', () => {
    given(created)
      .when((it) => it.addItem('lamp', 1, Money.of(1500, 'USD')))
      .isRefused('price-mismatch', 'price');
  });

  it('may be free of charge', () => {
    const order = given(created)
      .when((it) => it.addItem('leaflet', 1, eur(0)))
      .records(['order.item_added', { orderId, productId: 'leaflet', quantity: 1, price: 0 }]);
    expect(order.total.getAmount()).toBe(0);
  });

  it('counts a million of a product and not one more, also when it is added bit by bit', () => {
    given(created)
      .when((it) => it.addItem('bean', 1_000_000, eur(1)))
      .records(['order.item_added', { orderId, productId: 'bean', quantity: 1_000_000, price: 1 }]);
    given(created)
      .when((it) => it.addItem('bean', 1_000_001, eur(1)))
      .isRefused('order-too-large', 'quantity');
    given(created, added('bean', 999_999, 1))
      .when((it) => it.addItem('bean', 2, eur(1)))
      .isRefused('order-too-large', 'quantity');
  });

  it('holds 500 products and not one more, but more of one that is among them', () => {
    const full = [created, ...Array.from({ length: 500 }, (_, line) => added(`p-${line}`, 1, 100))];
    given(...full)
      .when((it) => it.addItem('one-too-many', 1, eur(100)))
      .isRefused('order-too-large', 'quantity');
    given(...full)
      .when((it) => it.addItem('p-7', 1, eur(100)))
      .records(['order.item_added', { orderId, productId: 'p-7', quantity: 1, price: 100 }]);
  });

  it('is refused where the total could no longer be counted exactly', () => {
    given(created)
      .when((it) => it.addItem('island', 1_000_000, eur(Number.MAX_SAFE_INTEGER)))
      .isRefused('order-too-large', 'price');
    given(created, added('island', 1, Number.MAX_SAFE_INTEGER))
      .when((it) => it.addItem('pebble', 1, eur(1)))
      .isRefused('order-too-large', 'price');
  });

  it.each([0, -1, 1.5, Number.NaN])('of a quantity of %s is no business matter but a mistake', (quantity) => {
    const order = EventSourcedOrder.fromEvents([created], testContext());
    expect(() => order.addItem('lamp', quantity, eur(1))).toThrow(RangeError);
    expect(() => order.addItem('lamp', 1, eur(-1))).toThrow(RangeError);
    expect(order.getUncommittedEvents()).toEqual([]);
  });
});

describe('removing an item', () => {
  it('takes the whole line', () => {
    const order = given(...filled, added('shade', 1, 200))
      .when((it) => it.removeItem('lamp'))
      .records(['order.item_removed', { orderId, productId: 'lamp' }]);
    expect(order.state.items).toEqual([{ productId: 'shade', quantity: 1, price: 200 }]);
    expect(order.total.getAmount()).toBe(200);
  });

  it('that is not there is refused', () => {
    given(...filled)
      .when((it) => it.removeItem('shade'))
      .isRefused('item-not-found', 'productId');
    given(...filled, removed('lamp'))
      .when((it) => it.removeItem('lamp'))
      .isRefused('item-not-found', 'productId');
  });
});

describe('submitting', () => {
  it('pins everything that the saga needs: items, total, currency and payment method', () => {
    given(...filled, added('shade', 3, 333))
      .when((it) => it.submit())
      .records([
        'order.submitted',
        {
          orderId,
          customerId: 'c-1',
          items: [lamp, { productId: 'shade', quantity: 3, price: 333 }],
          total: 3999,
          currency: 'EUR',
          paymentMethod: 'pm_ok',
        },
      ]);
  });

  it('is refused without items, be there none yet or none any more', () => {
    given(created)
      .when((it) => it.submit())
      .isRefused('order-empty', 'items');
    given(...filled, removed('lamp'))
      .when((it) => it.submit())
      .isRefused('order-empty', 'items');
  });
});

describe('asking for a cancellation', () => {
  const request = (order: EventSourcedOrder): void => order.requestCancellation('too dear', 'customer');

  it('cancels a draft at once, with the reason and who asked', () => {
    given(...filled)
      .when(request)
      .records(['order.cancelled', { orderId, customerId: 'c-1', reason: 'too dear', cancelledBy: 'customer' }]);
  });

  it('of a submitted order is recorded and leaves the status to the saga', () => {
    const order = given(...placed)
      .when(request)
      .records(['order.cancellation_requested', { orderId, reason: 'too dear', cancelledBy: 'customer' }]);
    expect(order.state).toMatchObject({ status: 'submitted', cancellation: { reason: 'too dear' } });
  });

  it('of a confirmed order is recorded and leaves the status to the refund', () => {
    const order = given(...placed, confirmed)
      .when(request)
      .records(['order.cancellation_requested', { orderId, reason: 'too dear', cancelledBy: 'customer' }]);
    expect(order.state.status).toBe('confirmed');
  });

  it('a second time keeps the first reason', () => {
    const order = given(...placed, cancellationRequested)
      .when(request)
      .recordsNothing();
    expect(order.state.cancellation).toEqual({ reason: 'changed my mind', cancelledBy: 'customer' });
  });
});

describe('asking for a refund', () => {
  const asked = { refundId: 'r-1', restock: false, reason: 'broken', requestedBy: 'customer' };
  const requested = (amount: number) =>
    ['order.refund_requested', { orderId, paymentId: 'p-1', amount, ...asked }] as const;

  it('of a part names the payment and the sum, and leaves the order confirmed', () => {
    const order = given(...placed, confirmed)
      .when((it) => it.requestRefund({ ...asked, amount: 100 }, 300))
      .records(requested(100));
    expect(order.state).toMatchObject({ status: 'confirmed', refunds: [{ refundId: 'r-1', amount: 100 }] });
  });

  it('without a sum is of all that is available', () => {
    given(...placed, confirmed)
      .when((it) => it.requestRefund(asked, 300))
      .records(requested(300));
  });

  it.each([
    [301, 300],
    [1, 0],
    [undefined, 0],
  ])('of %s where %i is available is refused', (amount, available) => {
    given(...placed, confirmed)
      .when((it) => it.requestRefund({ ...asked, amount }, available))
      .isRefused('refund-exceeds-held', 'amount');
  });
});

describe('money that is held for a cancelled order', () => {
  it('makes its refund due, with what the cancellation said, once', () => {
    const order = given(...placed, cancelled)
      .when((it) => it.markRefundDue())
      .records(['order.refund_due', { orderId, reason: 'changed my mind', cancelledBy: 'customer' }]);
    order.markRefundDue();
    expect(order.getUncommittedEvents()).toHaveLength(1);
    expect(order.state.status).toBe('cancelled');
  });
});

describe('the saga and the canceller, who both write the stream', () => {
  it('cannot both win: a cancellation that came first refuses the confirmation', () => {
    given(...placed, cancellationRequested)
      .when((it) => it.markAsConfirmed('p-1'))
      .isRefused('cancellation-requested');
  });

  it('cannot confirm an order twice with two payments', () => {
    given(...placed, confirmed)
      .when((it) => it.markAsConfirmed('p-2'))
      .isRefused('order-not-submitted', 'status');
  });
});

const states: Readonly<Record<string, readonly OrderEvent[]>> = {
  'empty draft': [created],
  draft: filled,
  submitted: placed,
  'submitted, cancellation requested': [...placed, cancellationRequested],
  confirmed: [...placed, confirmed],
  'confirmed, cancellation requested': [...placed, confirmed, cancellationRequested],
  failed: [...placed, failed],
  'cancelled draft': [...filled, cancelled],
  cancelled: [...placed, cancellationRequested, cancelled],
};
const commands: Readonly<Record<string, (order: EventSourcedOrder) => void>> = {
  addItem: (order) => order.addItem('shade', 1, eur(200)),
  removeItem: (order) => order.removeItem('lamp'),
  submit: (order) => order.submit(),
  requestCancellation: (order) => order.requestCancellation('too dear', 'customer'),
  requestRefund: (order) =>
    order.requestRefund({ refundId: 'r-1', restock: true, reason: 'r', requestedBy: 'customer', amount: 1 }, 1),
  markAsConfirmed: (order) => order.markAsConfirmed('p-1'),
  markAsFailed: (order) => order.markAsFailed('payment-declined: no'),
  markAsCancelled: (order) => order.markAsCancelled('too dear', 'saga'),
  markRefundDue: (order) => order.markRefundDue(),
};
const noRefund = { requestRefund: 'order-not-confirmed' };
const notCancelled = { markRefundDue: 'order-not-cancelled' };
const notDraft = { addItem: 'order-not-draft', removeItem: 'order-not-draft', submit: 'order-not-draft' };
const notSubmitted = { markAsConfirmed: 'order-not-submitted', markAsFailed: 'order-not-submitted' };
const outcomes: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'empty draft': {
    ...notCancelled,
    ...noRefund,
    addItem: 'order.item_added',
    removeItem: 'item-not-found',
    submit: 'order-empty',
    requestCancellation: 'order.cancelled',
    markAsCancelled: 'order.cancelled',
    ...notSubmitted,
  },
  draft: {
    ...notCancelled,
    ...noRefund,
    addItem: 'order.item_added',
    removeItem: 'order.item_removed',
    submit: 'order.submitted',
    requestCancellation: 'order.cancelled',
    markAsCancelled: 'order.cancelled',
    ...notSubmitted,
  },
  submitted: {
    ...notCancelled,
    ...noRefund,
    ...notDraft,
    requestCancellation: 'order.cancellation_requested',
    markAsConfirmed: 'order.confirmed',
    markAsFailed: 'order.failed',
    markAsCancelled: 'order.cancelled',
  },
  'submitted, cancellation requested': {
    ...notCancelled,
    ...noRefund,
    ...notDraft,
    requestCancellation: 'nothing',
    markAsConfirmed: 'cancellation-requested',
    markAsFailed: 'order.failed',
    markAsCancelled: 'order.cancelled',
  },
  confirmed: {
    ...notCancelled,
    requestRefund: 'order.refund_requested',
    ...notDraft,
    requestCancellation: 'order.cancellation_requested',
    markAsConfirmed: 'nothing',
    markAsFailed: 'order-not-submitted',
    markAsCancelled: 'order.cancelled',
  },
  'confirmed, cancellation requested': {
    ...notCancelled,
    requestRefund: 'cancellation-requested',
    ...notDraft,
    requestCancellation: 'nothing',
    markAsConfirmed: 'nothing',
    markAsFailed: 'order-not-submitted',
    markAsCancelled: 'order.cancelled',
  },
  failed: {
    ...notCancelled,
    ...noRefund,
    ...notDraft,
    requestCancellation: 'order-ended',
    markAsConfirmed: 'order-not-submitted',
    markAsFailed: 'nothing',
    markAsCancelled: 'order-ended',
  },
  'cancelled draft': {
    ...noRefund,
    ...notDraft,
    ...notSubmitted,
    requestCancellation: 'order-ended',
    markAsCancelled: 'nothing',
    markRefundDue: 'order.refund_due',
  },
  cancelled: {
    ...noRefund,
    ...notDraft,
    ...notSubmitted,
    requestCancellation: 'order-ended',
    markAsCancelled: 'nothing',
    markRefundDue: 'order.refund_due',
  },
};

describe('every command in every state', () => {
  const cases = Object.keys(states).flatMap((state) => Object.keys(commands).map((command) => ({ state, command })));

  it.each(cases)('$command on one that is: $state', ({ state, command }) => {
    const run = commands[command];
    if (run === undefined) throw new Error(`no command ${command}`);
    expect(
      given(...(states[state] ?? []))
        .when(run)
        .summary(),
    ).toBe(outcomes[state]?.[command]);
  });
});

describe('the fold', () => {
  it('knows the payment of a confirmed order and the reason of a failed one', () => {
    expect(EventSourcedOrder.fromEvents([...placed, confirmed], testContext()).state.paymentId).toBe('p-1');
    expect(EventSourcedOrder.fromEvents([...placed, failed], testContext()).state.failureReason).toBe(
      'out-of-stock: lamp',
    );
  });

  it('refuses a stream that does not begin with the creation', () => {
    expect(() => EventSourcedOrder.fromEvents([added('lamp', 1, 1)], testContext())).toThrow(/begins with/);
    expect(() => EventSourcedOrder.fromEvents([], testContext()).state).toThrow(/without events/);
  });

  it('of stored and of new events is the same, whatever was done in which order', () => {
    const product = fc.constantFrom('a', 'b', 'c');
    const step = fc.oneof(
      fc.record({ kind: fc.constant('add' as const), product, quantity: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ kind: fc.constant('remove' as const), product }),
      fc.record({ kind: fc.constantFrom('submit', 'request', 'confirm', 'fail', 'cancel') }),
    );
    const run = (order: EventSourcedOrder, one: { kind: string; product?: string; quantity?: number }): void => {
      const { kind, product: productId = '', quantity = 1 } = one;
      if (kind === 'add') order.addItem(productId, quantity, eur(100));
      if (kind === 'remove') order.removeItem(productId);
      if (kind === 'submit') order.submit();
      if (kind === 'request') order.requestCancellation('why not', 'customer');
      if (kind === 'confirm') order.markAsConfirmed('p-1');
      if (kind === 'fail') order.markAsFailed('no');
      if (kind === 'cancel') order.markAsCancelled('no', 'saga');
    };
    fc.assert(
      fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
        const order = EventSourcedOrder.fromEvents([created], testContext());
        for (const one of steps) {
          try {
            run(order, one);
          } catch {
            // A refusal leaves no trace, as the comparison shows.
          }
        }
        const events = [created, ...order.getUncommittedEvents()];
        const again = EventSourcedOrder.fromEvents(events, testContext());
        expect(again.state).toEqual(order.state);
        const counted = order.state.items.reduce((sum, item) => sum + item.quantity * item.price, 0);
        expect(order.total.getAmount()).toBe(counted);
        expect(new Set(order.state.items.map((item) => item.productId)).size).toBe(order.state.items.length);
        expect(events.filter((event) => event.eventType === 'order.confirmed').length).toBeLessThanOrEqual(1);
      }),
    );
  });
});

describe('what is not stored yet', () => {
  it('counts as stored once it is cleared, which is after the commit', () => {
    const order = EventSourcedOrder.fromEvents(filled, testContext());
    order.addItem('shade', 1, eur(200));
    order.submit();
    expect(order.version).toBe(2);
    order.clearUncommittedEvents();
    expect(order.version).toBe(4);
    expect(order.getUncommittedEvents()).toEqual([]);
    expect(order.state.status).toBe('submitted');
  });
});
