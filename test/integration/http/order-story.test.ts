import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { z } from 'zod';
import { expectInvalid, expectProblem, makeOrder, orderBody, orderOf, startApi, submitOrder, type Api } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

const pageSchema = z.object({
  events: z.array(
    z.looseObject({ eventId: z.string(), eventType: z.string(), version: z.number(), aggregateId: z.string() }),
  ),
  next: z.string().nullable(),
});
const events = async (path: string, tenant = 'default') => {
  const reply = await api.call('GET', path, { headers: { 'X-Tenant-Id': tenant } });
  expect(reply.status).toBe(200);
  return pageSchema.parse(reply.body);
};

test('an order’s payments are listed in the terms of the contract', async () => {
  const orderId = await submitOrder(api);
  expect((await api.call('GET', `/orders/${orderId}/payments`)).body).toEqual({ payments: [] });
  const { gateway } = api.deps;
  const payment = await gateway.prepare({
    key: orderId,
    tenantId: 'default',
    orderId,
    amount: 700,
    currency: 'EUR',
    method: 'pm_ok',
  });
  await gateway.capture(payment.paymentId);
  expect((await api.call('GET', `/orders/${orderId}/payments`)).body).toEqual({
    payments: [{ paymentId: payment.paymentId, status: 'charged', amount: 700, refunded: 0, currency: 'EUR' }],
  });
});

test('an order’s events come by version, with the correlation id of their command', async () => {
  const headers = { 'X-Correlation-Id': 'story-1' };
  const { orderId } = orderOf(await api.call('POST', '/orders', { body: orderBody(), headers }));
  await api.call('POST', `/orders/${orderId}/submit`);
  const page = await events(`/orders/${orderId}/events`);
  expect(page.next).toBeNull();
  expect(page.events.map((event) => [event.version, event.eventType])).toEqual([
    [1, 'order.created'],
    [2, 'order.item_added'],
    [3, 'order.submitted'],
  ]);
  expect(page.events[0]).toMatchObject({
    aggregateId: orderId,
    aggregateType: 'order',
    occurredAt: expect.stringMatching(/Z$/),
    payload: { orderId, customerId: 'ada@example.com' },
    metadata: { tenantId: 'default', correlationId: 'story-1' },
  });
});

describe('GET /orders/{id}/saga', () => {
  test('is 404 for a draft', async () => {
    const orderId = await makeOrder(api);
    expectProblem(await api.call('GET', `/orders/${orderId}/saga`), 404, 'saga-not-found');
  });

  test('shows the saga of the tenant’s own order', async () => {
    const view = {
      workflowId: 'order-saga-x',
      runId: null,
      status: 'Running' as const,
      steps: [{ name: 'reserve', state: 'running' as const, attempts: 1 }],
      webUrl: 'http://temporal.test',
    };
    const asked: string[][] = [];
    const find = async (...given: string[]) => {
      asked.push(given);
      return view;
    };
    const shown = await api.with({ sagaViews: { ...api.deps.sagaViews, find } });
    const orderId = await submitOrder(shown);
    expect(await shown.call('GET', `/orders/${orderId}/saga`)).toMatchObject({ status: 200, body: view });
    const headers = { 'X-Tenant-Id': 'other' };
    expect((await shown.call('GET', `/orders/${orderId}/saga`, { headers })).status).toBe(404);
    expect(asked).toEqual([['default', orderId]]);
    await shown.close();
  });
});

describe('GET /events', () => {
  /** The log shows an event once no older transaction is open, in whichever database of the server. */
  const eventually = async (path: string, tenant: string, count: number) =>
    await vi.waitFor(
      async () => {
        const page = await events(path, tenant);
        expect(page.events).toHaveLength(count);
        return page;
      },
      { timeout: 20_000 },
    );

  test('gives a tenant’s log page by page, without gaps and without other tenants’ events', async () => {
    const tenant = { 'X-Tenant-Id': 'logger' };
    const ids: string[] = [];
    for (let n = 0; n < 3; n += 1) {
      ids.push(orderOf(await api.call('POST', '/orders', { body: orderBody(), headers: tenant })).orderId);
      await makeOrder(api);
    }
    const all = await eventually('/events', 'logger', 6);
    expect(all.events.map((event) => event.aggregateId)).toEqual(ids.flatMap((id) => [id, id]));
    const first = await events('/events?limit=4', 'logger');
    const second = await events(`/events?limit=4&after=${first.next}`, 'logger');
    expect([...first.events, ...second.events]).toEqual(all.events);
    const end = await events(`/events?after=${second.next}`, 'logger');
    expect(end).toEqual({ events: [], next: second.next });
    const { orderId } = orderOf(await api.call('POST', '/orders', { body: orderBody(), headers: tenant }));
    const more = await eventually(`/events?after=${end.next}`, 'logger', 2);
    expect(more.events.map((event) => event.aggregateId)).toEqual([orderId, orderId]);
  });

  test('is filtered by type, aggregate and time', async () => {
    const orderId = await makeOrder(api);
    await eventually(`/events?aggregateId=${orderId}`, 'default', 2);
    const types = async (query: string) => {
      const page = await events(`/events?aggregateId=${orderId}${query}`);
      return page.events.map((event) => event.eventType);
    };
    expect(await types('')).toEqual(['order.created', 'order.item_added']);
    expect(await types('&type=order.created')).toEqual(['order.created']);
    expect(await types('&from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z')).toEqual([]);
    expect(await types('&from=2020-01-01T00:00:00%2B02:00')).toHaveLength(2);
    expect((await events(`/events?aggregateId=${orderId}`, 'other')).events).toEqual([]);
  });

  const cursor = (text: string) => Buffer.from(text).toString('base64url');
  test.each([
    ['?limit=1001', 'limit'],
    ['?from=yesterday', 'from'],
    ['?to=2020-01-01', 'to'],
    ['?after=1', 'after'],
    [`?after=${cursor('99999999999999999999.1')}`, 'after'],
    [`?after=${cursor('1.9999999999999999999')}`, 'after'],
    ['?type=%00', 'type'],
    ['?aggregateId=a&aggregateId=b', 'aggregateId'],
    ['?tenant=other', 'tenant'],
  ])('%s is refused, naming %s', async (query, field) => {
    expectInvalid(await api.call('GET', `/events${query}`), field);
  });
});
