// A command over HTTP whose commit was not heard of: the line to the database ends in place of the answer. Sent again with
// its key it has happened once.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startDatabaseProxy, type TcpProxy } from '../../support/tcp-proxy.ts';
import { eventTypes, expectProblem, makeOrder, orderBody, orderOf, startApi, type Api, type Reply } from './api.ts';

let api: Api;
let proxy: TcpProxy;
beforeAll(async () => {
  api = await startApi({}, async (databaseUrl) => {
    const way = await startDatabaseProxy(databaseUrl);
    proxy = way.proxy;
    return way.url;
  });
});
afterAll(async () => {
  await api.close();
  await proxy.close();
});

const post = async (path: string, key: string, body?: unknown): Promise<Reply> =>
  await api.call('POST', path, { headers: { 'Idempotency-Key': key }, ...(body === undefined ? {} : { body }) });
const orderIds = async (): Promise<readonly string[]> =>
  (await api.db.selectFrom('orders').select('order_id').execute()).map((row) => row.order_id);

test('an order is made once', async () => {
  const before = await orderIds();
  proxy.loseAnswerTo('commit');
  expectProblem(await post('/orders', 'make', orderBody()), 503, 'unavailable');
  const made = (await orderIds()).filter((id) => !before.includes(id));
  expect(made).toHaveLength(1);
  const again = await post('/orders', 'make', orderBody());
  expect(again.status).toBe(201);
  expect(orderOf(again).orderId).toBe(made[0]);
  expect(await orderIds()).toHaveLength(before.length + 1);
  expect(await eventTypes(api, made[0] ?? '')).toEqual(['order.created', 'order.item_added']);
});

test('a user is made once, and the repeat is told of it and not that the address is taken', async () => {
  const body = { email: 'lost@example.com' };
  proxy.loseAnswerTo('commit');
  expectProblem(await post('/users', 'user', body), 503, 'unavailable');
  const [made] = await api.db.selectFrom('users').select('user_id').where('email', '=', body.email).execute();
  expect(await post('/users', 'user', body)).toMatchObject({ status: 201, body: { userId: made?.user_id, ...body } });
  expect(await eventTypes(api, made?.user_id ?? '')).toEqual(['user.created']);
});

test('an address is changed once, also without a key', async () => {
  const made = await post('/users', 'to-change', { email: 'before@example.com' });
  const { userId } = made.body as { userId: string };
  const change = async () => await api.call('PATCH', `/users/${userId}`, { body: { email: 'after@example.com' } });
  proxy.loseAnswerTo('commit');
  expectProblem(await change(), 503, 'unavailable');
  expect(await change()).toMatchObject({ status: 200, body: { userId, email: 'after@example.com' } });
  expect(await eventTypes(api, userId)).toEqual(['user.created', 'user.email_updated']);
});

test('an order is submitted once, and the repeat is no refusal', async () => {
  const orderId = await makeOrder(api);
  proxy.loseAnswerTo('commit');
  expectProblem(await post(`/orders/${orderId}/submit`, 'submit'), 503, 'unavailable');
  const types = ['order.created', 'order.item_added', 'order.submitted'];
  expect(await eventTypes(api, orderId)).toEqual(types);
  expect((await post(`/orders/${orderId}/submit`, 'submit')).status).toBe(202);
  expect(await eventTypes(api, orderId)).toEqual(types);
});
