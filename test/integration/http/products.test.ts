import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectInvalid, expectProblem, startApi, type Api } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

test('a product is made, changed and read', async () => {
  const made = await api.call('PUT', '/products/tea', { body: { name: 'Tea', onHand: 5 } });
  expect(made).toMatchObject({
    status: 200,
    body: { productId: 'tea', name: 'Tea', onHand: 5, reserved: 0, available: 5 },
  });
  await api.call('PUT', '/products/tea', { body: { name: 'Green tea', onHand: 7 } });
  const read = await api.call('GET', '/products/tea');
  expect(read).toMatchObject({ status: 200, body: { name: 'Green tea', onHand: 7 } });
  expect(read.headers.get('Content-Type')).toBe('application/json');
  expect(await api.db.selectFrom('products').select(['name', 'on_hand']).execute()).toEqual([
    { name: 'Green tea', on_hand: 7 },
  ]);
});

test('a product of another tenant is not there, and may have the same id', async () => {
  const other = { 'X-Tenant-Id': 'other' };
  await api.call('PUT', '/products/mine', { body: { name: 'Mine', onHand: 1 } });
  expectProblem(await api.call('GET', '/products/mine', { headers: other }), 404, 'product-not-found', 'productId');
  await api.call('PUT', '/products/mine', { body: { name: 'Theirs', onHand: 2 }, headers: other });
  expect((await api.call('GET', '/products/mine')).body).toMatchObject({ name: 'Mine', onHand: 1 });
});

test('stock cannot be set below what orders hold', async () => {
  await api.call('PUT', '/products/held', { body: { name: 'Held', onHand: 5 } });
  await api.db.updateTable('products').set({ reserved: 3 }).where('product_id', '=', 'held').execute();
  const refused = await api.call('PUT', '/products/held', { body: { name: 'Held', onHand: 2 } });
  expectProblem(refused, 409, 'stock-below-reserved', 'onHand');
  expect((await api.call('GET', '/products/held')).body).toMatchObject({ onHand: 5, reserved: 3, available: 2 });
});

test.each([
  [{ name: 'Tea' }, ['onHand']],
  [{}, ['name', 'onHand']],
  [{ name: '', onHand: 1 }, ['name']],
  [{ name: 'x'.repeat(201), onHand: 1 }, ['name']],
  [{ name: 'Tea', onHand: -1 }, ['onHand']],
  [{ name: 'Tea', onHand: 1.5 }, ['onHand']],
  [{ name: 'Tea', onHand: 2 ** 31 }, ['onHand']],
  [{ name: 'Tea', onHand: '5' }, ['onHand']],
  [{ name: 'Tea', onHand: 1, colour: 'green' }, ['colour']],
  [{ name: 'T\u0000a', onHand: 1 }, ['name']],
  [{ name: 'T\ud800a', onHand: 1 }, ['name']],
  [[], ['body']],
  [null, ['body']],
])('the body %j is refused and its fields %j are named', async (body, fields) => {
  expectInvalid(await api.call('PUT', '/products/refused', { body }), ...fields);
  expectProblem(await api.call('GET', '/products/refused'), 404, 'product-not-found', 'productId');
});

test('the body is needed', async () => {
  expectInvalid(await api.call('PUT', '/products/refused'), 'body');
});

test('the highest stock that the table holds is taken', async () => {
  const most = 2 ** 31 - 1;
  expect(await api.call('PUT', '/products/most', { body: { name: 'M', onHand: most } })).toMatchObject({
    status: 200,
    body: { available: most },
  });
});

test.each(['a%20b', '%00', 'a%2Fb', 'x'.repeat(129), '%C3%A9'])('%s is no product id', async (productId) => {
  expectInvalid(await api.call('GET', `/products/${productId}`), 'productId');
  expectInvalid(await api.call('PUT', `/products/${productId}`, { body: { name: 'A', onHand: 1 } }), 'productId');
});

test.each(['a:b@c', 'A-z_0.9~', 'x'.repeat(128)])('%s is a product id', async (productId) => {
  const made = await api.call('PUT', `/products/${productId}`, { body: { name: 'A', onHand: 1 } });
  expect(made).toMatchObject({ status: 200, body: { productId } });
});
