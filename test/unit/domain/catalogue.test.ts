// The catalogue and the routes against the table of the design.
import { describe, expect, it } from 'vitest';
import { catalogue, type EventType } from '../../../src/domain/catalogue.ts';
import { eventRoutes } from '../../../src/sagas/event-routes.ts';

const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];
const reserved = [{ productId: 'lamp', quantity: 2 }];
const payment = { paymentId: 'p-1', orderId: 'o-1' };
const resolution = {
  orderId: 'o-1',
  workflowId: 'w-1',
  step: 'charge',
  action: 'skip',
  reference: 'r',
  resolvedBy: 'me',
};

/** DESIGN section 5: every type with a payload that has all of its fields and no other. */
const payloads: Readonly<Record<EventType, Readonly<Record<string, unknown>>>> = {
  'user.created': { userId: 'u-1', email: 'a@example.com', tenantId: 'acme' },
  'user.email_updated': { userId: 'u-1', oldEmail: 'a@example.com', newEmail: 'b@example.com' },
  'user.email_verified': { userId: 'u-1', email: 'a@example.com' },
  'user.verification_reminder_due': { userId: 'u-1', email: 'a@example.com', reminder: 1 },
  'user.verification_expired': { userId: 'u-1', email: 'a@example.com' },
  'order.created': { orderId: 'o-1', customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok' },
  'order.item_added': { orderId: 'o-1', productId: 'lamp', quantity: 2, price: 1500 },
  'order.item_removed': { orderId: 'o-1', productId: 'lamp' },
  'order.submitted': {
    orderId: 'o-1',
    customerId: 'c-1',
    items,
    total: 3000,
    currency: 'EUR',
    paymentMethod: 'pm_ok',
  },
  'order.cancellation_requested': { orderId: 'o-1', reason: 'r', cancelledBy: 'customer' },
  'order.refund_requested': {
    orderId: 'o-1',
    refundId: 'r-1',
    paymentId: 'p-1',
    amount: 1000,
    restock: true,
    reason: 'r',
    requestedBy: 'customer',
  },
  'order.cancelled': { orderId: 'o-1', customerId: 'c-1', reason: 'r', cancelledBy: 'customer' },
  'order.refund_due': { orderId: 'o-1', reason: 'r', cancelledBy: 'customer' },
  'order.confirmed': { orderId: 'o-1', paymentId: 'p-1' },
  'order.failed': { orderId: 'o-1', reason: 'r' },
  'payment.completed': { ...payment, amount: 3000, currency: 'EUR', method: 'pm_ok' },
  'payment.failed': { ...payment, reason: 'r' },
  'payment.refunded': { ...payment, reason: 'r', amount: 3000 },
  'payment.refund_failed': { ...payment, refundId: 'r-1', amount: 1000, reason: 'r' },
  'payment.voided': { ...payment, reason: 'r' },
  'payment.callback_received': { ...payment, outcome: 'completed', callbackId: 'msg_1' },
  'inventory.reserved': { orderId: 'o-1', items: reserved },
  'inventory.released': { orderId: 'o-1', items: reserved },
  'saga.resolution_requested': resolution,
  'saga.resolution_applied': resolution,
};
const types = Object.keys(payloads) as EventType[];

const accepts = (type: EventType, payload: unknown): boolean => catalogue[type].schema.safeParse(payload).success;

describe('the catalogue', () => {
  it('has the event types of the design, and no other', () => {
    expect(Object.keys(catalogue).toSorted()).toEqual(types.toSorted());
  });

  it.each(types)('takes the payload of %s as it is', (type) => {
    expect(catalogue[type].schema.parse(payloads[type])).toEqual(payloads[type]);
  });

  it('has one shape of each, but of the word of an operator, which may be about no order', () => {
    const changed = types.filter((type) => catalogue[type].version > 1);
    expect(changed).toEqual(['saga.resolution_requested']);
    expect(accepts('saga.resolution_requested', { ...resolution, orderId: null })).toBe(true);
  });

  it.each(types.flatMap((type) => Object.keys(payloads[type]).map((field) => ({ type, field }))))(
    'does not take $type without $field',
    ({ type, field }) => {
      const { [field]: _, ...rest } = payloads[type];
      expect(accepts(type, rest)).toBe(false);
    },
  );

  it.each([
    ['a price below zero', 'order.item_added', { price: -1 }],
    ['half a cent', 'order.item_added', { price: 0.5 }],
    ['a price that cannot be counted exactly', 'order.item_added', { price: 2 ** 53 }],
    ['a quantity of none', 'order.item_added', { quantity: 0 }],
    ['a currency that is none', 'order.created', { currency: 'euro' }],
    ['a submission without items', 'order.submitted', { items: [] }],
    ['a resolution that it does not know', 'saga.resolution_requested', { action: 'forget' }],
    ['a reminder before the first', 'user.verification_reminder_due', { reminder: 0 }],
    ['a refund of nothing', 'order.refund_requested', { amount: 0 }],
    ['an outcome that it does not know', 'payment.callback_received', { outcome: 'perhaps' }],
  ] as const)('does not take %s', (_, type, change) => {
    expect(accepts(type, { ...payloads[type], ...change })).toBe(false);
  });
});

describe('the routing table', () => {
  it('brings every event to the bus', () => {
    expect(Object.keys(eventRoutes).toSorted()).toEqual(types.toSorted());
    for (const type of types) expect(eventRoutes[type]).toContain('bus');
  });

  it('brings to Temporal what starts or signals a saga, and nothing else', () => {
    const toTemporal = types.filter((type) => eventRoutes[type].includes('temporal'));
    expect(toTemporal).toEqual([
      'user.created',
      'user.email_updated',
      'user.email_verified',
      'order.submitted',
      'order.cancellation_requested',
      'order.refund_requested',
      'order.refund_due',
      'payment.callback_received',
      'saga.resolution_requested',
    ]);
  });

  it('names each destination of an event once', () => {
    for (const destinations of Object.values(eventRoutes)) {
      expect(new Set(destinations).size).toBe(destinations.length);
      expect(destinations.every((destination) => ['bus', 'temporal'].includes(destination))).toBe(true);
    }
  });
});
