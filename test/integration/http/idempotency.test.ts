import type { Router } from 'express';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DomainError, UnavailableError } from '../../../src/domain/errors.ts';
import { createApp } from '../../../src/http/app.ts';
import { deleteExpiredKeys } from '../../../src/http/idempotency/idempotency-keys.ts';
import {
  connect,
  eventTypes,
  expectInvalid,
  expectProblem,
  makeOrder,
  orderBody,
  orderOf,
  startApi,
  type Api,
} from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

const withKey = (key: string, more: Readonly<Record<string, string>> = {}) => ({ 'Idempotency-Key': key, ...more });
const create = async (key: string, body: unknown = orderBody(), at: Api = api) =>
  await at.call('POST', '/orders', { body, headers: withKey(key) });
const orderCount = async () => (await api.db.selectFrom('orders').select('order_id').execute()).length;
const rowOf = async (key: string) =>
  await api.db.selectFrom('idempotency_keys').selectAll().where('key', '=', key).executeTakeFirstOrThrow();

/** What a process leaves behind that dies after its command has committed; `ago` seconds after its lock has ended. */
const forgetAnswer = async (key: string, ago = 1) => {
  await sql`
    update idempotency_keys set status = null, headers = null, body = null,
      locked_until = now() - make_interval(secs => ${ago})
    where key = ${key}`.execute(api.db);
};

test('the same request again gets the same answer, and is told so', async () => {
  const first = await create('again');
  const count = await orderCount();
  const second = await create('again');
  expect(second.status).toBe(201);
  expect(second.text).toBe(first.text);
  expect(second.headers.get('Location')).toBe(first.headers.get('Location'));
  expect(second.headers.get('Content-Type')).toBe('application/json');
  expect([first, second].map((reply) => reply.headers.get('Idempotency-Replayed'))).toEqual([null, 'true']);
  expect(await orderCount()).toBe(count);
});

test('a body that says the same in other bytes is the same body', async () => {
  const { customerId, currency, items } = orderBody();
  const first = await create('bytes', { customerId, currency, items });
  expect((await create('bytes', { items, currency, customerId })).text).toBe(first.text);
});

test('the same key with another body is refused, and changes nothing', async () => {
  await create('other-body');
  const count = await orderCount();
  const refused = await create('other-body', orderBody({ customerId: 'bob' }));
  expectProblem(refused, 422, 'idempotency-key-reused', 'Idempotency-Key');
  expect(await orderCount()).toBe(count);
  expect((await create('other-body')).headers.get('Idempotency-Replayed')).toBe('true');
});

test('of requests that arrive together one runs; the others get its answer or are told to come back', async () => {
  const count = await orderCount();
  const replies = await Promise.all(Array.from({ length: 10 }, async () => await create('together')));
  expect(await orderCount()).toBe(count + 1);
  const made = replies.filter((reply) => reply.status === 201);
  const ids = new Set(made.map((reply) => orderOf(reply).orderId));
  expect(ids.size).toBe(1);
  for (const reply of replies.filter((reply) => reply.status !== 201)) {
    expectProblem(reply, 409, 'idempotency-key-in-flight');
    expect(reply.headers.get('Retry-After')).toBe('1');
  }
  expect(made.filter((reply) => reply.headers.get('Idempotency-Replayed') === null)).toHaveLength(1);
});

test('a refusal is an answer, too, and is replayed', async () => {
  const orderId = await makeOrder(api, { items: [] });
  const submit = async () => await api.call('POST', `/orders/${orderId}/submit`, { headers: withKey('refusal') });
  const first = await submit();
  expectProblem(first, 422, 'order-empty', 'items');
  await api.call('POST', `/orders/${orderId}/items`, { body: { productId: 'tea', quantity: 1, price: 1 } });
  const second = await submit();
  expectProblem(second, 422, 'order-empty', 'items');
  expect([second.text, second.headers.get('Idempotency-Replayed')]).toEqual([first.text, 'true']);
});

test('tenants, and paths, have keys of their own', async () => {
  const mine = await create('shared');
  const theirs = await api.call('POST', '/orders', {
    body: orderBody(),
    headers: withKey('shared', { 'X-Tenant-Id': 'b' }),
  });
  expect(theirs.status).toBe(201);
  expect(theirs.headers.get('Idempotency-Replayed')).toBeNull();
  expect(orderOf(theirs).orderId).not.toBe(orderOf(mine).orderId);
  const { orderId } = orderOf(mine);
  expect((await api.call('POST', `/orders/${orderId}/submit`, { headers: withKey('shared') })).status).toBe(202);
});

test.each(['', 'a b', 'x'.repeat(256), 'caf\u00e9'])('the key %j is refused', async (key) => {
  const count = await orderCount();
  expectInvalid(await create(key), 'Idempotency-Key');
  expect(await orderCount()).toBe(count);
});

test('every POST route but the webhook looks at the key', async () => {
  const paths = postPaths(createApp(api.deps).router.stack).filter((path) => path !== '/webhooks/payments');
  expect(paths).toContain('/orders');
  expect(paths.length).toBeGreaterThanOrEqual(4);
  for (const path of paths) {
    const reply = await api.call('POST', path.replaceAll(/:\w+/g, 'x'), { body: {}, headers: withKey('a b') });
    expectInvalid(reply, 'Idempotency-Key');
  }
});

/** Of the whole application, so that a route that is added later is held to it as well. */
function postPaths(stack: Router['stack']): readonly string[] {
  return stack.flatMap((layer) => {
    const inner = (layer.handle as Partial<Router>).stack ?? [];
    const isPost = layer.route?.stack.some((handler) => handler.method === 'post') ?? false;
    return [...(isPost && layer.route ? [layer.route.path] : []), ...postPaths(inner)];
  });
}

describe('what is not kept', () => {
  test('an error of ours: the next attempt runs, with the same id', async () => {
    await sql`alter table order_items rename to order_items_away`.execute(api.db);
    const failed = await create('ours');
    await sql`alter table order_items_away rename to order_items`.execute(api.db);
    expectProblem(failed, 500, 'internal-error');
    expect(await rowOf('ours')).toMatchObject({ status: null, body: null, locked_until: null });
    expect(await create('ours')).toMatchObject({ status: 201 });
    expect(await rowOf('ours')).toMatchObject({ status: 201, locked_until: null });
  });

  test('an outage after the commit: the next attempt answers for the order that is there', async () => {
    let isAway = true;
    const findOrder: typeof api.deps.orderQueries.findOrder = async (...of) => {
      if (isAway) throw new UnavailableError('away');
      return await api.deps.orderQueries.findOrder(...of);
    };
    const flaky = await api.with({ orderQueries: { ...api.deps.orderQueries, findOrder } });
    const count = await orderCount();
    expectProblem(await create('outage', orderBody(), flaky), 503, 'unavailable');
    expect(await orderCount()).toBe(count + 1);
    isAway = false;
    const second = await create('outage', orderBody(), flaky);
    expect(second.status).toBe(201);
    expect(await eventTypes(api, orderOf(second).orderId)).toEqual(['order.created', 'order.item_added']);
    expect(await orderCount()).toBe(count + 1);
    await flaky.close();
  });
});

describe('a process that died in the middle', () => {
  test('keeps the key until its lock ends', async () => {
    await create('died');
    await forgetAnswer('died', -60);
    expectProblem(await create('died'), 409, 'idempotency-key-in-flight');
    await forgetAnswer('died');
    expect((await create('died')).status).toBe(201);
  });

  test('has made its order, and the next attempt makes no other', async () => {
    const first = await create('died-create');
    const count = await orderCount();
    await forgetAnswer('died-create');
    const second = await create('died-create');
    expect(second.status).toBe(201);
    expect(second.text).toBe(first.text);
    expect(second.headers.get('Idempotency-Replayed')).toBeNull();
    expect(await orderCount()).toBe(count);
    expect(await eventTypes(api, orderOf(second).orderId)).toHaveLength(2);
  });

  test.each([
    ['items', { productId: 'cup', quantity: 3, price: 5 }, 200],
    ['submit', {}, 202],
    ['cancel', { reason: 'r' }, 200],
  ])('has done its %s, and the next attempt does not do it twice', async (command, body, status) => {
    const orderId = await makeOrder(api);
    const key = `died-${command}`;
    const send = async () => await api.call('POST', `/orders/${orderId}/${command}`, { body, headers: withKey(key) });
    const first = await send();
    expect(first.status).toBe(status);
    const events = await eventTypes(api, orderId);
    expect(events).toHaveLength(3);
    await forgetAnswer(key);
    const second = await send();
    expect([second.status, second.text]).toEqual([status, first.text]);
    expect(await eventTypes(api, orderId)).toEqual(events);
  });

  test('before its command: the next attempt does it', async () => {
    const orderId = await makeOrder(api);
    const send = async () => await api.call('POST', `/orders/${orderId}/submit`, { headers: withKey('died-before') });
    await api.db
      .insertInto('idempotency_keys')
      .values({
        tenant_id: 'default',
        method: 'POST',
        path: `/orders/${orderId}/submit`,
        key: 'died-before',
        // Of no body.
        request_hash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
        status: null,
        headers: null,
        body: null,
        locked_until: new Date(Date.now() - 1000),
        created_at: new Date(Date.now() - 60_000),
      })
      .execute();
    expect((await send()).status).toBe(202);
    expect(await eventTypes(api, orderId)).toContain('order.submitted');
  });

  /** The lock of an attempt ends while it is busy; another one takes over and finishes; then `wakeUp` goes on. */
  async function overtaken(key: string, wakeUp: typeof api.deps.orders.create) {
    const orders = {
      ...api.deps.orders,
      create: async (...given: Parameters<typeof wakeUp>) => {
        await forgetAnswer(key);
        expect((await create(key)).status).toBe(201);
        return await wakeUp(...given);
      },
    };
    const slow = await api.with({ orders });
    const late = await create(key, orderBody(), slow);
    await slow.close();
    const kept = await create(key);
    expect([kept.status, kept.headers.get('Idempotency-Replayed')]).toEqual([201, 'true']);
    return { late, kept };
  }

  test('and wakes up late: it finds its successor’s order and makes no other', async () => {
    const { late, kept } = await overtaken('late', api.deps.orders.create);
    expect(late.text).toBe(kept.text);
    expect(await eventTypes(api, orderOf(late).orderId)).toHaveLength(2);
  });

  test('and fails late: its refusal is not kept over its successor’s answer', async () => {
    const { late } = await overtaken('late-refusal', async () => {
      throw new DomainError('order-too-large', 'too late');
    });
    expectProblem(late, 422, 'order-too-large');
  });
});

describe('after a day', () => {
  const age = async (key: string) => {
    await sql`update idempotency_keys set created_at = now() - interval '25 hours' where key = ${key}`.execute(api.db);
  };

  test('a key is as new: another body is taken, and another order made', async () => {
    const first = await create('old');
    await age('old');
    const second = await create('old', orderBody({ customerId: 'bob' }));
    expect(second).toMatchObject({ status: 201, body: { customerId: 'bob' } });
    expect(orderOf(second).orderId).not.toBe(orderOf(first).orderId);
  });

  test('the clean-up deletes it, and nothing that is younger or in flight', async () => {
    for (const key of ['clean-old', 'clean-busy', 'clean-young']) await create(key);
    await age('clean-old');
    await age('clean-busy');
    await forgetAnswer('clean-busy', -60);
    expect(await deleteExpiredKeys(api.db)).toBe(1);
    const left = await api.db.selectFrom('idempotency_keys').select('key').where('key', 'like', 'clean-%').execute();
    expect(left.map((row) => row.key).toSorted()).toEqual(['clean-busy', 'clean-young']);
  });
});

test('without its table no command runs: it fails closed', async () => {
  const db = connect('postgres://nobody@127.0.0.1:1/nothing');
  const away = await api.with({ db });
  const count = await orderCount();
  const refused = await create('closed', orderBody(), away);
  expectProblem(refused, 503, 'unavailable');
  expect(refused.headers.get('Retry-After')).toBe('1');
  expect(await orderCount()).toBe(count);
  await away.close();
  await db.destroy();
});
