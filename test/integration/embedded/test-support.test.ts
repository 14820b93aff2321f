import pg from 'pg';
import { Redis } from 'ioredis';
import { expect, test } from 'vitest';
import { createTestDatabase } from '../../support/database.ts';
import { childrenOf } from '../../support/processes.ts';
import { startRedis } from '../../support/redis.ts';
import { services } from '../../support/services.ts';
import { startTimeSkipping } from '../../support/time-skipping.ts';

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}

test('a test database is a clone of its own and is gone once it is dropped', async () => {
  const [one, other] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  const client = await connect(one.url);
  await client.query('CREATE TABLE only_here (id int)');
  await client.end();
  const second = await connect(other.url);
  const { rows } = await second.query("SELECT to_regclass('only_here') AS found");
  await second.end();
  expect(rows).toEqual([{ found: null }]);
  await Promise.all([one.drop(), other.drop()]);
  const admin = await connect(services().postgresAdminUrl);
  const left = await admin.query('SELECT datname FROM pg_database WHERE datname = ANY($1)', [
    [one.url, other.url].map((url) => new URL(url).pathname.slice(1)),
  ]);
  await admin.end();
  expect(left.rows).toEqual([]);
});

test('a test that leaks a connection is told so when it drops its database', async () => {
  const database = await createTestDatabase();
  const client = await connect(database.url);
  client.on('error', () => undefined);
  await client.query('SELECT 42');
  await expect(database.drop()).rejects.toThrow(/leaked 1 connection.*SELECT 42/);
});

test('a Redis on demand answers, and is gone when it is stopped', async () => {
  const redis = await startRedis();
  const client = new Redis(redis.url, { retryStrategy: () => null });
  await client.set('greeting', 'hello');
  expect(await client.get('greeting')).toBe('hello');
  client.disconnect();
  await redis.stop();
  const again = new Redis(redis.url, { lazyConnect: true, retryStrategy: () => null });
  again.on('error', () => undefined);
  if (redis.pid !== undefined) await expect(again.connect()).rejects.toThrow();
  again.disconnect();
});

test('the time-skipping server passes a month in a moment, and is gone after its teardown', async () => {
  const before = childrenOf(process.pid);
  const { environment, tearDown } = await startTimeSkipping();
  const begin = await environment.currentTimeMs();
  await environment.sleep('30 days');
  expect((await environment.currentTimeMs()) - begin).toBeGreaterThanOrEqual(30 * 24 * 3_600_000);
  await tearDown();
  await expect.poll(() => childrenOf(process.pid)).toEqual(before);
});
