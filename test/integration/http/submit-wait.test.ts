import { request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../../support/saga-service.ts';
import { eventTypes, expectProblem, makeOrder, startApi, type Api } from './api.ts';

let api: Api;
let reads = 0;
beforeAll(async () => {
  const real = await startApi();
  // Counts how often the order is looked at; all else is real.
  const findOrder: typeof real.deps.orderQueries.findOrder = async (...of) => {
    reads += 1;
    return await real.deps.orderQueries.findOrder(...of);
  };
  const counting = await real.with({ orderQueries: { ...real.deps.orderQueries, findOrder } });
  const close = async () => {
    await counting.close();
    await real.close();
  };
  api = { ...counting, close };
});
afterAll(async () => {
  await api.close();
});

const submit = async (orderId: string, prefer: string, more: Readonly<Record<string, string>> = {}) => {
  const started = performance.now();
  const reply = await api.call('POST', `/orders/${orderId}/submit`, { headers: { Prefer: prefer, ...more } });
  return { ...reply, ms: performance.now() - started };
};
const submitted = async (orderId: string) => {
  await expect.poll(async () => await eventTypes(api, orderId)).toContain('order.submitted');
};
/** What the saga's last step does to the row. */
const end = async (orderId: string, status: 'confirmed' | 'failed' | 'cancelled') => {
  await api.db.updateTable('orders').set({ status }).where('order_id', '=', orderId).execute();
};

test.each(['confirmed', 'failed', 'cancelled'] as const)(
  'an order that is %s meanwhile answers 200 at once',
  async (status) => {
    const orderId = await makeOrder(api);
    const waiting = submit(orderId, 'respond-async, WAIT=20; a=b');
    await submitted(orderId);
    await end(orderId, status);
    const reply = await waiting;
    expect(reply).toMatchObject({ status: 200, body: { orderId, status, total: 700 } });
    expect(reply.headers.get('Preference-Applied')).toBe('wait=20');
    expect(reply.ms).toBeLessThan(10_000);
  },
);

test('an order that is still on its way when the time is up answers 202', async () => {
  const orderId = await makeOrder(api);
  const reply = await submit(orderId, 'wait=1');
  expect(reply).toMatchObject({
    status: 202,
    body: { orderId, status: 'submitted', saga: { workflowId: `order-saga-${orderId}` } },
  });
  expect(reply.headers.get('Preference-Applied')).toBeNull();
  expect(reply.ms).toBeGreaterThan(950);
  expect(reply.ms).toBeLessThan(10_000);
});

test('a refusal does not wait', async () => {
  const orderId = await makeOrder(api, { items: [] });
  const reply = await submit(orderId, 'wait=20');
  expectProblem(reply, 422, 'order-empty', 'items');
  expect(reply.ms).toBeLessThan(10_000);
});

test('nobody is waited for: a client that goes away ends the polling', async () => {
  const orderId = await makeOrder(api);
  const sent = request(`${api.url}/orders/${orderId}/submit`, { method: 'POST', headers: { Prefer: 'wait=30' } });
  sent.on('error', () => undefined);
  sent.end();
  await submitted(orderId);
  const before = reads;
  await expect.poll(() => reads).toBeGreaterThan(before + 1);
  sent.destroy();
  // However long it takes until the server hears of it.
  await eventually(async () => {
    const seen = reads;
    await delay(500);
    return reads === seen ? true : undefined;
  });
});

test('a process that stops keeps nobody waiting', async () => {
  const stopping = new AbortController();
  const stoppable = await api.with({ stopping: stopping.signal });
  const orderId = await makeOrder(api);
  const waiting = stoppable.call('POST', `/orders/${orderId}/submit`, { headers: { Prefer: 'wait=30' } });
  await submitted(orderId);
  stopping.abort();
  expect((await waiting).status).toBe(202);
  const late = await makeOrder(api);
  const reply = await stoppable.call('POST', `/orders/${late}/submit`, { headers: { Prefer: 'wait=30' } });
  expect(reply.status).toBe(202);
  await stoppable.close();
});

test('a wait is answered from its key the second time, and does not submit again', async () => {
  const orderId = await makeOrder(api);
  const key = { 'Idempotency-Key': 'wait-1' };
  const waiting = submit(orderId, 'wait=10', key);
  await submitted(orderId);
  expectProblem(await submit(orderId, 'wait=10', key), 409, 'idempotency-key-in-flight');
  await end(orderId, 'confirmed');
  const first = await waiting;
  const second = await submit(orderId, 'wait=10', key);
  expect([second.status, second.text]).toEqual([200, first.text]);
  expect(second.headers.get('Preference-Applied')).toBe('wait=10');
  expect(second.headers.get('Idempotency-Replayed')).toBe('true');
});
