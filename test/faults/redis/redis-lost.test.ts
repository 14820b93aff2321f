// Redis dies, and comes back empty, with older data, or after a minute; relays and consumers die beside it.
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { tableOfEffects } from '../../support/effects.ts';
import { startOwnRedis, type OwnRedis } from '../../support/redis.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';

let redis: OwnRedis;
let service: SagaService;
let roles: RoleProcesses;
let writing: AbortController;
let writers: Promise<unknown>;

beforeEach(async () => {
  redis = await startOwnRedis();
  // Gives the database, and writes; what delivers and handles are processes.
  service = await startSagaService({ worker: false, relay: false, environment: { REDIS_URL: redis.url } });
  await tableOfEffects.execute(service.parts.db);
  roles = createRoleProcesses(service.environment);
  writing = new AbortController();
  writers = Promise.resolve();
});
afterEach(async () => {
  writing.abort();
  await writers;
  await roles.stop();
  await service.stop();
  await redis.stop();
});

const startConsumer = async (): Promise<RoleProcess> => await roles.startProgram('run-recording-consumer.ts');

/** Orders with six events each, by four writers, one after the other until they are stopped. */
function startWriters(): void {
  const write = async (): Promise<void> => {
    const input = { customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok' };
    while (!writing.signal.aborted) {
      const items = ['lamp', 'desk', 'chair', 'shelf'].map((productId) => ({ productId, quantity: 1, price: 100 }));
      const { state } = await service.commands.create({ ...input, items }, metadata);
      await service.commands.cancel(state.orderId, 'changed my mind', 'customer', metadata);
      await delay(50);
    }
  };
  writers = Promise.all(Array.from({ length: 4 }, write));
}

async function stopWriters(): Promise<void> {
  writing.abort();
  await writers;
}

const count = async (what: ReturnType<typeof sql<{ n: number }>>): Promise<number> =>
  (await what.execute(service.parts.db)).rows[0]?.n ?? 0;
const effects = async (): Promise<number> => await count(sql`select count(*)::int as n from effects`);
const notDone = async (): Promise<number> =>
  await count(sql`select count(*)::int as n from outbox where destination = 'bus' and state <> 'done'`);
const untilMoreEffects = async (more: number): Promise<void> => {
  const before = await effects();
  await eventually(async () => ((await effects()) >= before + more ? true : undefined), 90_000);
};

/** Every stored event has a done delivery, no dead letter, and its effect once; those of an order in its order. */
async function expectEachOnceInOrder(): Promise<void> {
  const { db } = service.parts;
  await eventually(async () => ((await notDone()) === 0 ? true : undefined), 120_000);
  const stored = await count(sql`select count(*)::int as n from events`);
  expect(await count(sql`select count(*)::int as n from outbox where destination = 'bus'`)).toBe(stored);
  await eventually(async () => ((await effects()) >= stored ? true : undefined), 120_000);
  const { rows } = await sql<{ aggregate_id: string; versions: readonly number[] }>`
    select aggregate_id, array_agg(version order by n) as versions from effects group by aggregate_id`.execute(db);
  for (const { aggregate_id, versions } of rows) expect(versions, aggregate_id).toEqual([1, 2, 3, 4, 5, 6]);
  expect(rows.length * 6).toBe(stored);
  console.log(`${stored} events, each once`);
}

it('killed and back empty, twice, under load, with a relay and a consumer killed as well, it costs nothing but time', async () => {
  await roles.start('relay');
  const relay = await roles.start('relay');
  await startConsumer();
  const consumer = await startConsumer();
  startWriters();
  await untilMoreEffects(100);
  await redis.kill();
  await redis.restart();
  await untilMoreEffects(100);
  await redis.kill();
  await relay.kill();
  await redis.restart();
  await consumer.kill();
  await untilMoreEffects(100);
  await stopWriters();
  // What the killed relay held is free at the end of its lease; not waited for here.
  await sql`update outbox set locked_until = now() where locked_by is not null`.execute(service.parts.db);
  await sql`update outbox_lanes set due_at = now(), changes = changes + 1`.execute(service.parts.db);
  await expectEachOnceInOrder();
});

it('killed and back with an older snapshot, what came after that is sent again', async () => {
  const relay = await roles.start('relay');
  await startConsumer();
  startWriters();
  await untilMoreEffects(50);
  const admin = new Redis(redis.url, { retryStrategy: () => null });
  await admin.save();
  admin.disconnect();
  await untilMoreEffects(50);
  await redis.kill();
  await redis.restart();
  await untilMoreEffects(50);
  await stopWriters();
  await expectEachOnceInOrder();
  expect(relay.log()).toContain('put back into the outbox what Redis may have lost');
});

it('away for a minute, events wait in the outbox with no attempt burnt, and the relay goes on by itself', async () => {
  await roles.start('relay');
  await startConsumer();
  startWriters();
  await untilMoreEffects(50);
  await redis.kill();
  const before = await effects();
  await delay(30_000);
  await stopWriters();
  await delay(30_000);
  expect(await notDone()).toBeGreaterThan(100);
  expect(await effects()).toBeLessThan(before + 500);
  await redis.restart();
  await expectEachOnceInOrder();
  const attempts = await sql<{
    n: number;
  }>`select distinct attempts as n from outbox where destination = 'bus'`.execute(service.parts.db);
  expect(attempts.rows).toEqual([{ n: 1 }]);
});

it('a relay that is killed in the middle of filling it again leaves the rest to the next one', async () => {
  const first = await roles.start('relay');
  startWriters();
  await eventually(async () =>
    (await count(sql`select count(*)::int as n from outbox where destination = 'bus' and state = 'done'`)) > 120
      ? true
      : undefined,
  );
  await stopWriters();
  await eventually(async () => ((await notDone()) === 0 ? true : undefined));
  const { db } = service.parts;
  const [lane] = (
    await sql<{ id: string }>`select aggregate_id as id from outbox_lanes where destination = 'bus'`.execute(db)
  ).rows;
  // The refill comes to a lane that somebody holds, and waits; what it has put back by then is committed.
  await db.transaction().execute(async (tx) => {
    await sql`select set_config('transaction_timeout', '0', true),
      set_config('idle_in_transaction_session_timeout', '0', true)`.execute(tx);
    await sql`select from outbox_lanes where aggregate_id = ${lane?.id} for update`.execute(tx);
    await redis.kill();
    await redis.restart();
    await eventually(async () => ((await notDone()) > 0 ? true : undefined));
    await first.kill();
  });
  expect(
    await count(sql`select count(*)::int as n from outbox where aggregate_id = ${lane?.id} and state = 'done'`),
  ).toBe(6);
  await startConsumer();
  await roles.start('relay');
  await expectEachOnceInOrder();
});
