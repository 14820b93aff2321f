import { once } from 'node:events';
import { createServer } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createHealthApp, type ReadinessChecks } from '../../../src/http/health-routes.ts';
import { createMetricsRegistry } from '../../../src/platform/metrics.ts';
import { expectProblem, startApi, type Api } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

async function readyz(checks: ReadinessChecks) {
  const checked = await api.with({ checks });
  const reply = await checked.call('GET', '/readyz');
  await checked.close();
  return reply;
}

test('a process is alive, whatever its checks say', async () => {
  const sick = await api.with({ checks: { database: async () => ({ ok: false }) } });
  expect(await sick.call('GET', '/healthz')).toMatchObject({ status: 200, body: { status: 'ok' } });
  // Probes carry no tenant, and a bad one does not make the process unhealthy.
  expect((await sick.call('GET', '/healthz', { headers: { 'X-Tenant-Id': '/' } })).status).toBe(200);
  await sick.close();
});

test('a process whose checks are all good is ready, and shows what they found', async () => {
  const checks = { database: async () => ({ ok: true }), relay: async () => ({ ok: true, ageSeconds: 3 }) };
  expect(await readyz(checks)).toMatchObject({
    status: 200,
    body: { status: 'ready', checks: { database: { ok: true }, relay: { ok: true, ageSeconds: 3 } } },
  });
});

test('one bad check is enough, and the others are still shown', async () => {
  const checks = {
    database: async () => ({ ok: true }),
    temporal: async () => ({ ok: false, detail: 'no answer' }),
    relay: async () => {
      throw new Error('the relay is lost');
    },
  };
  expect(await readyz(checks)).toMatchObject({
    status: 503,
    body: {
      status: 'not-ready',
      checks: {
        database: { ok: true },
        temporal: { ok: false, detail: 'no answer' },
        relay: { ok: false, detail: 'the relay is lost' },
      },
    },
  });
});

test('checks run side by side, and one that hangs is given up after two seconds', async () => {
  const hanging = async () => await new Promise<{ ok: boolean }>(() => undefined);
  const met = Promise.withResolvers<void>();
  const waiting = async () => await met.promise.then(() => ({ ok: true }));
  const meeting = async () => {
    met.resolve();
    return { ok: true };
  };
  expect(await readyz({ hanging, waiting, meeting })).toMatchObject({
    status: 503,
    body: {
      checks: {
        hanging: { ok: false, detail: expect.stringContaining('2000 ms') },
        waiting: { ok: true },
        meeting: { ok: true },
      },
    },
  });
});

test('a role without an API serves only its health', async () => {
  const app = createHealthApp({ checks: { loop: async () => ({ ok: true }) }, metrics: createMetricsRegistry() });
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  const replies = await Promise.all(
    ['/healthz', '/readyz', '/metrics', '/orders'].map(async (path) => await fetch(`http://127.0.0.1:${port}${path}`)),
  );
  expect(replies.map((reply) => reply.status)).toEqual([200, 200, 200, 404]);
  expect(replies[3]?.headers.get('Content-Type')).toBe('application/problem+json');
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

test('health is only looked at', async () => {
  const reply = await api.call('POST', '/readyz');
  expectProblem(reply, 405, 'method-not-allowed');
  expect(reply.headers.get('Allow')).toBe('GET, HEAD');
});
