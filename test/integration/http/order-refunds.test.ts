import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { commandContext, newId } from '../../../src/domain/ids.ts';
import { refundPaymentId } from '../../../src/domain/saga-contract.ts';
import { createOrderRepository, loadOrder } from '../../../src/orders/order-repository.ts';
import {
  eventTypes,
  expectInvalid,
  expectProblem,
  makeOrder,
  startApi,
  submitOrder,
  type Api,
  type Reply,
} from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

/** Charged 700 EUR cents and confirmed, as the saga does it. */
async function confirmedOrder(): Promise<Readonly<{ orderId: string; paymentId: string }>> {
  const orderId = await submitOrder(api);
  const { gateway, store, unitOfWork } = api.deps;
  const of = { key: orderId, tenantId: 'default', orderId, amount: 700, currency: 'EUR', method: 'pm_ok' };
  const { paymentId } = await gateway.prepare(of);
  await gateway.capture(paymentId);
  const repository = createOrderRepository({ store, unitOfWork });
  const order = await loadOrder(repository, orderId, commandContext({ tenantId: 'default' }));
  order.markAsConfirmed(paymentId);
  await repository.save(order);
  return { orderId, paymentId };
}

const refund = async (orderId: string, body?: unknown, headers: Readonly<Record<string, string>> = {}) =>
  await api.call('POST', `/orders/${orderId}/refunds`, { ...(body === undefined ? {} : { body }), headers });
const acceptedOf = (reply: Reply) => {
  expect(reply.status, reply.text).toBe(202);
  return z.looseObject({ refundId: z.string(), amount: z.number() }).parse(reply.body);
};
const requestsOf = async (orderId: string): Promise<readonly unknown[]> =>
  (await api.deps.store.getEvents(orderId))
    .filter(({ eventType }) => eventType === 'order.refund_requested')
    .map(({ payload }) => payload);

test('a refund of a part is taken on: the sum, the saga that does it, and the event that starts it', async () => {
  const { orderId, paymentId } = await confirmedOrder();
  const reply = await refund(orderId, { amount: 300, restock: true, reason: 'one was broken' });
  const { refundId } = acceptedOf(reply);
  const workflowId = refundPaymentId(paymentId, refundId);
  expect(reply.body).toEqual({
    orderId,
    refundId,
    paymentId,
    amount: 300,
    currency: 'EUR',
    restock: true,
    saga: { workflowId, webUrl: `http://temporal.test/workflows/${workflowId}` },
  });
  const requestedBy = 'customer';
  expect(await requestsOf(orderId)).toEqual([
    { orderId, refundId, paymentId, amount: 300, restock: true, reason: 'one was broken', requestedBy },
  ]);
  expect((await api.call('GET', `/orders/${orderId}`)).body).toMatchObject({ status: 'confirmed' });
});

test.each([undefined, {}])('without a sum it is of all that is held, and no goods come back (%j)', async (body) => {
  const { orderId } = await confirmedOrder();
  expect(await refund(orderId, body)).toMatchObject({ status: 202, body: { amount: 700, restock: false } });
  const { orderId: other } = await confirmedOrder();
  await refund(other, { amount: 200 });
  expect(await refund(other, body)).toMatchObject({ status: 202, body: { amount: 500 } });
});

describe('more than is held is 422, and says how much there is', () => {
  const refused = (reply: Reply, asked: string, held: number) => {
    expectProblem(reply, 422, 'refund-exceeds-held', 'amount');
    expect(reply.body).toMatchObject({ detail: `${asked} was asked for, ${held} is held` });
  };

  test('at once, and after others that add up', async () => {
    const { orderId } = await confirmedOrder();
    refused(await refund(orderId, { amount: 701 }), '701', 700);
    acceptedOf(await refund(orderId, { amount: 300 }));
    refused(await refund(orderId, { amount: 401 }), '401', 400);
    acceptedOf(await refund(orderId, { amount: 400 }));
    refused(await refund(orderId, { amount: 1 }), '1', 0);
    refused(await refund(orderId), 'all', 0);
    expect(await requestsOf(orderId)).toHaveLength(2);
  });

  test('and many at once never ask for more together', async () => {
    const { orderId } = await confirmedOrder();
    const replies = await Promise.all(Array.from({ length: 5 }, async () => await refund(orderId, { amount: 300 })));
    const statuses = replies.map(({ status }) => status).toSorted((one, other) => one - other);
    expect(statuses).toEqual([202, 202, 422, 422, 422]);
    expect(await requestsOf(orderId)).toHaveLength(2);
  });

  test('where something else has given money back', async () => {
    const { orderId, paymentId } = await confirmedOrder();
    await api.deps.gateway.refund(paymentId, { key: newId(), amount: 500 });
    refused(await refund(orderId, { amount: 201 }), '201', 200);
    acceptedOf(await refund(orderId, { amount: 200 }));
  });

  test('but not because of a refund that has failed, nor twice for one that is done', async () => {
    const { orderId, paymentId } = await confirmedOrder();
    const { refundId } = acceptedOf(await refund(orderId, { amount: 600 }));
    const payload = { paymentId, orderId, refundId, amount: 600, reason: 'no' };
    await api.deps.store.append({
      eventId: newId(),
      eventType: 'payment.refund_failed',
      occurredAt: new Date(),
      aggregateId: paymentId,
      aggregateType: 'payment',
      payload,
    });
    acceptedOf(await refund(orderId, { amount: 300 }));
    // Its money has moved, and nothing else of it is known yet.
    await api.deps.gateway.refund(paymentId, { key: newId(), amount: 300 });
    refused(await refund(orderId, { amount: 401 }), '401', 400);
    acceptedOf(await refund(orderId, { amount: 400 }));
  });
});

describe('an order that is not confirmed has nothing to refund', () => {
  test.each([
    ['draft', makeOrder],
    ['submitted', submitOrder],
  ] as const)('%s: 409', async (_, make) => {
    const orderId = await make(api);
    expectProblem(await refund(orderId, { amount: 1 }), 409, 'order-not-confirmed', 'status');
  });

  test('cancelled as a draft: 409', async () => {
    const orderId = await makeOrder(api);
    await api.call('POST', `/orders/${orderId}/cancel`, { body: { reason: 'r' } });
    expectProblem(await refund(orderId), 409, 'order-not-confirmed', 'status');
  });

  test('about to be cancelled, and refunded by that: 409', async () => {
    const { orderId } = await confirmedOrder();
    await api.call('POST', `/orders/${orderId}/cancel`, { body: { reason: 'r' } });
    expectProblem(await refund(orderId, { amount: 1 }), 409, 'cancellation-requested');
  });

  test('unknown, or of another tenant: 404', async () => {
    const { orderId } = await confirmedOrder();
    expectProblem(await refund(newId()), 404, 'order-not-found', 'orderId');
    expectProblem(await refund(orderId, {}, { 'X-Tenant-Id': 'other' }), 404, 'order-not-found', 'orderId');
    expect(await requestsOf(orderId)).toEqual([]);
  });
});

test.each([
  ['amount', { amount: 0 }],
  ['amount', { amount: 1.5 }],
  ['amount', { amount: '100' }],
  ['restock', { restock: 'yes' }],
  ['reason', { reason: '' }],
  ['currency', { currency: 'EUR' }],
])('a body that is wrong in its %s is 400 (%j)', async (field, body) => {
  const { orderId } = await confirmedOrder();
  expectInvalid(await refund(orderId, body), field);
});

describe('with an Idempotency-Key', () => {
  test('the same request again is the same refund', async () => {
    const { orderId } = await confirmedOrder();
    const headers = { 'Idempotency-Key': `again-${orderId}` };
    const first = await refund(orderId, { amount: 100 }, headers);
    const second = await refund(orderId, { amount: 100 }, headers);
    acceptedOf(first);
    expect([second.status, second.text]).toEqual([202, first.text]);
    expect(await requestsOf(orderId)).toHaveLength(1);
    expectProblem(await refund(orderId, { amount: 200 }, headers), 422, 'idempotency-key-reused', 'Idempotency-Key');
  });

  test('an attempt after one that died before its answer finds what that one asked for', async () => {
    const { orderId } = await confirmedOrder();
    const headers = { 'Idempotency-Key': `died-${orderId}` };
    const first = await refund(orderId, undefined, headers);
    acceptedOf(first);
    await sql`
      update idempotency_keys set status = null, headers = null, body = null, locked_until = now() - interval '1 s' where key = ${`died-${orderId}`}`.execute(
      api.db,
    );
    const second = await refund(orderId, undefined, headers);
    expect([second.status, second.text]).toEqual([202, first.text]);
    expect(await eventTypes(api, orderId)).toHaveLength(5);
  });
});
