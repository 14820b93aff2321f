import { request } from 'node:http';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { connect, expectInvalid, expectProblem, makeOrder, orderBody, orderOf, startApi, type Api } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

const logLine = z.looseObject({ msg: z.string(), correlationId: z.string().optional() });
const linesOf = (correlationId: string) =>
  api.logged.map((line) => logLine.parse(JSON.parse(line))).filter((line) => line.correlationId === correlationId);

describe('the correlation id', () => {
  test('comes back, and is in the log with method, path, status and time', async () => {
    const headers = { 'X-Correlation-Id': 'trace.1~a:b@c' };
    const reply = await api.call('GET', '/orders?limit=3', { headers });
    expect(reply.headers.get('X-Correlation-Id')).toBe('trace.1~a:b@c');
    await expect.poll(() => linesOf('trace.1~a:b@c')).toHaveLength(1);
    const [line] = linesOf('trace.1~a:b@c');
    expect(line).toMatchObject({ msg: 'request', method: 'GET', path: '/orders', status: 200, ms: expect.any(Number) });
  });

  test.each(['a b', 'x'.repeat(129), '../..', 'a/b'])('%j is replaced', async (given) => {
    const reply = await api.call('GET', '/orders', { headers: { 'X-Correlation-Id': given } });
    expect(reply.headers.get('X-Correlation-Id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  test('is in every problem', async () => {
    const reply = await api.call('GET', '/nowhere', { headers: { 'X-Correlation-Id': 'lost-1' } });
    expectProblem(reply, 404, 'not-found');
    expect(reply.body).toMatchObject({ correlationId: 'lost-1' });
  });
});

test.each(['', 'a b', '..', 'x'.repeat(129), 'a/b'])('the tenant %j is refused', async (tenant) => {
  expectInvalid(await api.call('GET', '/orders', { headers: { 'X-Tenant-Id': tenant } }), 'X-Tenant-Id');
});

test.each(['', 'a b', '..', 'x'.repeat(129), 'a/b'])('the user %j is refused', async (user) => {
  expectInvalid(await api.call('GET', '/orders', { headers: { 'X-User-Id': user } }), 'X-User-Id');
});

test.each([
  [
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
    '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
  ],
  ['00-4bf92f3577b34da6a3ce929d0e0e4736-nonsense-01', undefined],
])('a request with traceparent %s is served, and its events carry %s', async (traceparent, carried) => {
  const made = await api.call('POST', '/orders', { body: orderBody(), headers: { traceparent } });
  expect(made.status).toBe(201);
  const [created] = await api.deps.store.getEvents(orderOf(made).orderId);
  expect(created?.metadata.traceparent).toBe(carried);
});

describe('a body', () => {
  const post = async (raw: string, headers: Record<string, string> = {}) =>
    await api.call('POST', '/orders', { raw, headers });

  test.each(['{', '', '{"a":1}}', "{'a':1}"].filter((raw) => raw !== ''))('%j is not JSON', async (raw) => {
    expectProblem(await post(raw), 400, 'malformed-json', 'body');
  });

  test('in something else than UTF-8 is refused', async () => {
    const response = await fetch(`${api.url}/orders`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: Buffer.from('{"customerId":"caf\xe9"}', 'latin1'),
    });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ type: 'urn:problem-type:athyper-sagas:malformed-json' });
  });

  test('of another type is refused, and one with a charset or a +json type is taken', async () => {
    const raw = JSON.stringify(orderBody());
    expectProblem(await post(raw, { 'Content-Type': 'text/plain' }), 415, 'unsupported-media-type');
    expectProblem(
      await post('a=1', { 'Content-Type': 'application/x-www-form-urlencoded' }),
      415,
      'unsupported-media-type',
    );
    expect((await post(raw, { 'Content-Type': 'application/json; charset=utf-8' })).status).toBe(201);
    expect((await post(raw, { 'Content-Type': 'application/vnd.shop+json' })).status).toBe(201);
  });

  test('over 256 kB is refused, also one that only grows that large when unpacked', async () => {
    expectProblem(await post(JSON.stringify({ customerId: 'x'.repeat(256 * 1024) })), 413, 'body-too-large');
    const response = await fetch(`${api.url}/orders`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' },
      body: gzipSync(JSON.stringify({ customerId: 'x'.repeat(1024 * 1024) })),
    });
    expect(response.status).toBe(413);
  });

  test('in an unknown encoding is refused', async () => {
    expectProblem(await post('{}', { 'Content-Encoding': 'rot13' }), 415, 'unsupported-media-type');
  });

  test('of a hundred thousand brackets is refused like any other, and named briefly', async () => {
    const reply = await post(`{"items":${'['.repeat(100_000)}${']'.repeat(100_000)}}`);
    expectProblem(reply, 400, 'invalid-input', 'items[0][0]');
    expect(reply.text.length).toBeLessThan(1000);
  });

  test('is not needed where nothing is in it, however the client says so', async () => {
    const orderId = await makeOrder(api);
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request(`${api.url}/orders/${orderId}/submit`, {
        method: 'POST',
        headers: { 'Transfer-Encoding': 'chunked' },
      });
      sent.on('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      sent.on('error', reject);
      sent.end();
    });
    expect(status).toBe(202);
  });
});

describe('a path', () => {
  test.each([
    ['DELETE', '/products/tea', 'GET, PUT, HEAD, OPTIONS'],
    ['PATCH', '/orders', 'GET, POST, HEAD, OPTIONS'],
    ['PUT', '/orders/x/submit', 'POST, OPTIONS'],
    ['GET', '/webhooks/payments', 'POST, OPTIONS'],
    ['POST', '/events', 'GET, HEAD, OPTIONS'],
  ])('%s %s is not allowed, and what is stands in Allow', async (method, path, allow) => {
    const reply = await api.call(method, path);
    expectProblem(reply, 405, 'method-not-allowed');
    expect(reply.headers.get('Allow')).toBe(allow);
    const options = await api.call('OPTIONS', path);
    expect([options.status, options.headers.get('Allow')]).toEqual([204, allow]);
  });

  test('that is unknown, or written in capitals, is 404', async () => {
    expectProblem(await api.call('GET', '/nothing'), 404, 'not-found');
    expectProblem(await api.call('GET', '/Orders'), 404, 'not-found');
    expectProblem(await api.call('POST', '/orders/x/explode'), 404, 'not-found');
  });

  test('that cannot be decoded is 400', async () => {
    expectProblem(await api.call('GET', '/products/%E0%A4%A'), 400, 'malformed-request');
  });

  test('answers HEAD like GET, without the body', async () => {
    const head = await api.call('HEAD', '/orders');
    expect([head.status, head.text]).toEqual([200, '']);
  });
});

test('answers are not cached, and carry the usual protections', async () => {
  const { headers } = await api.call('GET', '/orders');
  expect(headers.get('Cache-Control')).toBe('no-store');
  expect(headers.get('X-Content-Type-Options')).toBe('nosniff');
  expect(headers.get('X-Powered-By')).toBeNull();
});

describe('what fails', () => {
  test('for a reason of ours is a 500 that tells nothing, with the cause in the log', async () => {
    const headers = { 'X-Correlation-Id': 'broken-1' };
    const products = {
      ...api.deps.products,
      find: async () => {
        throw new Error('secret: the password is tea');
      },
    };
    const broken = await api.with({ products });
    const reply = await broken.call('GET', '/products/tea', { headers });
    expectProblem(reply, 500, 'internal-error');
    expect(reply.text).not.toMatch(/secret|at .*\.ts/);
    expect(linesOf('broken-1')).toContainEqual(
      expect.objectContaining({ level: 50, err: expect.objectContaining({ message: 'secret: the password is tea' }) }),
    );
    await broken.close();
  });

  test('because the database is away is a 503 that says when to come back', async () => {
    const db = connect('postgres://nobody@127.0.0.1:1/nothing');
    const away = await api.with({ db });
    const orderId = await makeOrder(api);
    const reply = await away.call('GET', `/orders/${orderId}/payments`);
    expectProblem(reply, 503, 'unavailable');
    expect(Number(reply.headers.get('Retry-After'))).toBeGreaterThan(0);
    await away.close();
    await db.destroy();
  });
});
