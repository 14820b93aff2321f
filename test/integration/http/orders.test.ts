import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import {
  eventTypes,
  expectInvalid,
  expectProblem,
  makeOrder,
  orderBody,
  orderOf,
  startApi,
  submitOrder,
  type Api,
} from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

const setStatus = async (orderId: string, status: 'confirmed' | 'failed' | 'cancelled') => {
  await api.db.updateTable('orders').set({ status }).where('order_id', '=', orderId).execute();
};
const other = { 'X-Tenant-Id': 'other' };
const nobody = '01890000-0000-7000-8000-000000000000';

describe('POST /orders', () => {
  test('makes a draft and says where it is', async () => {
    const made = await api.call('POST', '/orders', { body: orderBody() });
    const { orderId } = orderOf(made);
    expect(made.status).toBe(201);
    expect(made.headers.get('Location')).toBe(`/orders/${orderId}`);
    expect(made.body).toEqual({
      orderId,
      customerId: 'ada@example.com',
      status: 'draft',
      currency: 'EUR',
      total: 700,
      items: [{ productId: 'tea', quantity: 2, price: 350 }],
      paymentMethod: 'pm_ok',
      cancellationRequested: false,
      version: 2,
      createdAt: expect.stringMatching(/Z$/),
      updatedAt: expect.stringMatching(/Z$/),
    });
    expect(await eventTypes(api, orderId)).toEqual(['order.created', 'order.item_added']);
    expect((await api.call('GET', `/orders/${orderId}`)).body).toEqual(made.body);
  });

  test('takes an order without items', async () => {
    const made = await api.call('POST', '/orders', { body: orderBody({ items: [], paymentMethod: 'pm_pending' }) });
    expect(made).toMatchObject({ status: 201, body: { total: 0, items: [], paymentMethod: 'pm_pending' } });
  });

  test.each([
    [{}, ['currency', 'customerId', 'items']],
    [orderBody({ customerId: 'a/b' }), ['customerId']],
    [orderBody({ customerId: '..' }), ['customerId']],
    [orderBody({ customerId: '' }), ['customerId']],
    [orderBody({ currency: 'eur' }), ['currency']],
    [orderBody({ currency: 'ZZZ' }), ['currency']],
    [orderBody({ paymentMethod: 'p'.repeat(129) }), ['paymentMethod']],
    [orderBody({ items: [{ productId: 'tea', quantity: 0, price: 1 }] }), ['items[0].quantity']],
    [orderBody({ items: [{ productId: 'tea', quantity: 1_000_001, price: 1 }] }), ['items[0].quantity']],
    [orderBody({ items: [{ productId: 'tea', quantity: 1, price: -1 }] }), ['items[0].price']],
    [orderBody({ items: [{ productId: 'tea', quantity: 1, price: 2 ** 53 }] }), ['items[0].price']],
    [orderBody({ items: [{ productId: 'tea', quantity: 1, price: 1, vat: 7 }] }), ['items[0].vat']],
    [
      orderBody({ items: [{ productId: 'a b', quantity: 1.5 }] }),
      ['items[0].price', 'items[0].productId', 'items[0].quantity'],
    ],
    [orderBody({ status: 'confirmed', total: 1 }), ['status', 'total']],
    [orderBody({ paymentMethod: 'a\u0000', note: ['\udc00'] }), ['note[0]', 'paymentMethod']],
  ])('refuses %j and names %j', async (body, fields) => {
    const before = await api.db.selectFrom('orders').select('order_id').execute();
    expectInvalid(await api.call('POST', '/orders', { body }), ...fields);
    expect(await api.db.selectFrom('orders').select('order_id').execute()).toHaveLength(before.length);
  });

  test('refuses a name like __proto__ as the unknown field that it is', async () => {
    const raw = `{"__proto__":{"x":1},"customerId":"a","currency":"EUR","items":[]}`;
    expectInvalid(await api.call('POST', '/orders', { raw }), '__proto__');
  });

  test('refuses a total that cannot be counted exactly', async () => {
    const items = [{ productId: 'gold', quantity: 1_000_000, price: Number.MAX_SAFE_INTEGER }];
    expectProblem(await api.call('POST', '/orders', { body: orderBody({ items }) }), 422, 'order-too-large', 'price');
  });
});

describe('items', () => {
  test('are added and removed', async () => {
    const orderId = await makeOrder(api, { items: [] });
    const item = { productId: 'cup', quantity: 3, price: 500 };
    const added = await api.call('POST', `/orders/${orderId}/items`, { body: item });
    expect(added).toMatchObject({ status: 200, body: { orderId, items: [item], total: 1500 } });
    const removed = await api.call('DELETE', `/orders/${orderId}/items/cup`);
    expect(removed).toMatchObject({ status: 200, body: { items: [], total: 0, version: 3 } });
    expect(await eventTypes(api, orderId)).toEqual(['order.created', 'order.item_added', 'order.item_removed']);
    expect(await api.db.selectFrom('order_items').selectAll().where('order_id', '=', orderId).execute()).toEqual([]);
  });

  test('that are not in the order cannot be removed', async () => {
    const orderId = await makeOrder(api);
    expectProblem(await api.call('DELETE', `/orders/${orderId}/items/cup`), 404, 'item-not-found', 'productId');
    expectInvalid(await api.call('DELETE', `/orders/${orderId}/items/a%20b`), 'productId');
  });

  test('are refused with the name of the field', async () => {
    const orderId = await makeOrder(api);
    const add = async (body: unknown) => await api.call('POST', `/orders/${orderId}/items`, { body });
    expectInvalid(await add({ productId: 'tea', quantity: '1', price: 1 }), 'quantity');
    expectInvalid(await add({ productId: 'tea', quantity: 1, price: 1, currency: 'EUR' }), 'currency');
    expectProblem(await add({ productId: 'tea', quantity: 1, price: 351 }), 422, 'price-mismatch', 'price');
    expect(await eventTypes(api, orderId)).toHaveLength(2);
  });

  test('of a submitted order stay as they are', async () => {
    const orderId = await submitOrder(api);
    const body = { productId: 'cup', quantity: 1, price: 1 };
    expectProblem(await api.call('POST', `/orders/${orderId}/items`, { body }), 409, 'order-not-draft', 'items');
    expectProblem(await api.call('DELETE', `/orders/${orderId}/items/tea`), 409, 'order-not-draft', 'items');
  });
});

describe('submit', () => {
  test('answers 202 with a link to the saga', async () => {
    const orderId = await makeOrder(api);
    const submitted = await api.call('POST', `/orders/${orderId}/submit`, { body: {} });
    expect(submitted).toMatchObject({
      status: 202,
      body: {
        orderId,
        status: 'submitted',
        saga: { workflowId: `order-saga-${orderId}`, webUrl: `http://temporal.test/workflows/order-saga-${orderId}` },
      },
    });
    expect(await eventTypes(api, orderId)).toEqual(['order.created', 'order.item_added', 'order.submitted']);
  });

  test('is refused the second time, and without items', async () => {
    const orderId = await submitOrder(api);
    expectProblem(await api.call('POST', `/orders/${orderId}/submit`), 409, 'order-not-draft', 'status');
    const empty = await makeOrder(api, { items: [] });
    expectProblem(await api.call('POST', `/orders/${empty}/submit`), 422, 'order-empty', 'items');
    expectInvalid(await api.call('POST', `/orders/${empty}/submit`, { body: { wait: 5 } }), 'wait');
  });
});

describe('cancel', () => {
  const cancel = async (orderId: string, body: unknown = { reason: 'changed my mind' }) =>
    await api.call('POST', `/orders/${orderId}/cancel`, { body });

  test('ends a draft at once', async () => {
    const orderId = await makeOrder(api);
    expect(await cancel(orderId)).toMatchObject({ status: 200, body: { orderId, status: 'cancelled' } });
    const event = await api.db
      .selectFrom('events')
      .select('payload')
      .where('aggregate_id', '=', orderId)
      .where('event_type', '=', 'order.cancelled')
      .executeTakeFirstOrThrow();
    expect(event.payload).toMatchObject({ reason: 'changed my mind', cancelledBy: 'customer' });
  });

  test('is only requested of a submitted order, once', async () => {
    const orderId = await submitOrder(api);
    const requested = await cancel(orderId, { reason: 'late', cancelledBy: 'support' });
    expect(requested).toMatchObject({ status: 202, body: { status: 'submitted', cancellationRequested: true } });
    expect((await cancel(orderId)).status).toBe(202);
    expect((await eventTypes(api, orderId)).filter((type) => type === 'order.cancellation_requested')).toHaveLength(1);
  });

  test('is refused where the order has ended', async () => {
    const orderId = await makeOrder(api);
    await cancel(orderId);
    expectProblem(await cancel(orderId), 409, 'order-ended', 'status');
  });

  test('needs a reason', async () => {
    const orderId = await makeOrder(api);
    expectInvalid(await cancel(orderId, {}), 'reason');
    expectInvalid(await cancel(orderId, { reason: '' }), 'reason');
    expectInvalid(await cancel(orderId, { reason: 'r'.repeat(501) }), 'reason');
    expectInvalid(await cancel(orderId, { reason: 'r', cancelledBy: '', why: 1 }), 'cancelledBy', 'why');
    expectInvalid(await api.call('POST', `/orders/${orderId}/cancel`), 'body');
    expect(await eventTypes(api, orderId)).toHaveLength(2);
  });
});

describe('an order that is not there', () => {
  const calls: readonly (readonly [string, string, unknown])[] = [
    ['GET', '', undefined],
    ['GET', '/payments', undefined],
    ['GET', '/events', undefined],
    ['GET', '/saga', undefined],
    ['POST', '/items', { productId: 'tea', quantity: 1, price: 1 }],
    ['DELETE', '/items/tea', undefined],
    ['POST', '/submit', undefined],
    ['POST', '/cancel', { reason: 'r' }],
  ];
  test.each(calls)('%s /orders/{id}%s is 404: unknown, no UUID, or another tenant’s', async (method, rest, body) => {
    for (const orderId of [nobody, 'no-uuid', '%00', '1']) {
      expectProblem(await api.call(method, `/orders/${orderId}${rest}`, { body }), 404, 'order-not-found', 'orderId');
    }
    const theirs = await makeOrder(api);
    const refused = await api.call(method, `/orders/${theirs}${rest}`, { body, headers: other });
    expectProblem(refused, 404, 'order-not-found', 'orderId');
    expect(await eventTypes(api, theirs)).toHaveLength(2);
  });

  test('an id in capital letters is the same order', async () => {
    const orderId = await makeOrder(api);
    expect((await api.call('GET', `/orders/${orderId.toUpperCase()}`)).body).toMatchObject({ orderId });
  });
});

describe('GET /orders', () => {
  const tenant = { 'X-Tenant-Id': 'lister' };
  const pageSchema = z.object({ orders: z.array(z.looseObject({ orderId: z.string() })), next: z.string().nullable() });
  const list = async (query: string) => {
    const reply = await api.call('GET', `/orders${query}`, { headers: tenant });
    expect(reply.status).toBe(200);
    const { orders, next } = pageSchema.parse(reply.body);
    return { ids: orders.map((order) => order.orderId), next };
  };

  test('pages through a tenant’s orders, newest first, each once', async () => {
    const made: string[] = [];
    for (let n = 0; n < 5; n += 1) {
      // With a key, too: ids that come from keys sort like any other.
      const key = n % 2 === 0 ? {} : { 'Idempotency-Key': `list-${n}` };
      made.push(
        orderOf(await api.call('POST', '/orders', { body: orderBody(), headers: { ...tenant, ...key } })).orderId,
      );
    }
    const newestFirst = made.toReversed();
    expect(await list('')).toEqual({ ids: newestFirst, next: null });
    const first = await list('?limit=2');
    const second = await list(`?limit=2&cursor=${first.next}`);
    const third = await list(`?limit=2&cursor=${second.next}`);
    expect([...first.ids, ...second.ids, ...third.ids]).toEqual(newestFirst);
    expect(third.next).toBeNull();
    expect(await list('?limit=5')).toMatchObject({ next: null });
    expect((await list('?status=draft')).ids).toHaveLength(5);
    await setStatus(newestFirst[1] ?? '', 'failed');
    expect((await list('?status=failed')).ids).toEqual([newestFirst[1]]);
    expect((await list('?status=draft&limit=1')).ids).toEqual([newestFirst[0]]);
  });

  test.each([
    ['?status=open', 'status'],
    ['?limit=0', 'limit'],
    ['?limit=201', 'limit'],
    ['?limit=ten', 'limit'],
    ['?limit=1&limit=2', 'limit'],
    ['?cursor=abc', 'cursor'],
    ['?cursor=', 'cursor'],
    ['?state=draft', 'state'],
  ])('%s is refused, naming %s', async (query, field) => {
    expectInvalid(await api.call('GET', `/orders${query}`), field);
  });
});
