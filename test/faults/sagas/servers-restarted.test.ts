// PostgreSQL or Temporal goes away while sagas run, and comes back with its data.
import { sql } from 'kysely';
import { afterEach, expect, it } from 'vitest';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance, runsOf } from '../../support/books.ts';
import { createHttpClient, createOrder, type HttpClient } from '../../support/http-client.ts';
import { submittedOf } from '../../support/liveness.ts';
import { startOwnPostgres } from '../../support/own-postgres.ts';
import { startOwnTemporal } from '../../support/own-temporal.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';

const stocked = { lamp: 200 };
const methods = ['pm_ok', 'pm_flaky', 'pm_declined', 'pm_timeout'];

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function serviceWith(environment: Readonly<Record<string, string>>): Promise<SagaService> {
  const service = await startSagaService({ worker: false, relay: false, environment });
  cleanUps.push(async () => await service.stop());
  await service.stock(stocked.lamp);
  return service;
}

function rolesFor(service: SagaService): RoleProcesses {
  const roles = createRoleProcesses(service.environment);
  cleanUps.push(async () => await roles.stop());
  return roles;
}

async function submitMany(client: HttpClient, count: number): Promise<readonly string[]> {
  return await Promise.all(
    Array.from({ length: count }, async (_, index) => {
      const orderId = await createOrder(client, { paymentMethod: methods[index % methods.length] ?? 'pm_ok' });
      expect((await client.post(`/orders/${orderId}/submit`)).status).toBe(202);
      return orderId;
    }),
  );
}

/** Dozens at once take their time on a busy machine. */
async function allEnded(service: SagaService, orderIds: readonly string[]): Promise<void> {
  await eventually(async () => ((await submittedOf(service, orderIds)).length === 0 ? true : undefined), 120_000);
}

const waitingForTemporal = async ({ parts }: SagaService): Promise<number> =>
  (
    await parts.db
      .selectFrom('outbox')
      .select('id')
      .where('destination', '=', 'temporal')
      .where('state', '=', 'pending')
      .execute()
  ).length;

const endedCount = async ({ parts }: SagaService): Promise<number> =>
  (await parts.db.selectFrom('orders').select('order_id').where('status', 'in', ['confirmed', 'failed']).execute())
    .length;

it('PostgreSQL, stopped in order and then crashed, comes back, and every saga goes on to its right end', async () => {
  const postgres = await startOwnPostgres();
  cleanUps.push(postgres.remove);
  const service = await serviceWith({ DATABASE_URL: postgres.url });
  const roles = rolesFor(service);
  const api = await roles.start('api');
  await roles.start('relay');
  await roles.start('worker');
  const client = createHttpClient(api.url);

  const first = await submitMany(client, 16);
  await eventually(async () => ((await endedCount(service)) > 0 ? true : undefined));
  await postgres.stop();
  expect((await client.get('/readyz')).status).toBe(503);
  expect((await client.post('/orders', { customerId: 'c', currency: 'EUR', items: [] })).status).toBe(503);
  expect((await client.get('/healthz')).status).toBe(200);
  let before = performance.now();
  await postgres.startAgain();
  await untilReady(client);
  console.log(`ready ${((performance.now() - before) / 1000).toFixed(1)} s after PostgreSQL was told to start again`);

  const second = await submitMany(client, 16);
  await postgres.crash('SIGQUIT');
  before = performance.now();
  await postgres.startAgain();
  await untilReady(client);
  // Deliveries whose end could not be written were claimed by a relay that lives: it takes them up again at once.
  for (const orderId of [...first, ...second]) await service.ended(orderId);
  console.log(`all ended ${((performance.now() - before) / 1000).toFixed(1)} s after the start after the crash`);
  await expectBooksToBalance(service.parts, { stocked });
  expect(await endedCount(service)).toBe(32);
});

async function untilReady(client: HttpClient): Promise<void> {
  await eventually(async () => ((await client.get('/readyz')).status === 200 ? true : undefined));
}

it('Temporal, killed with -9, is away: orders are accepted, handlers run, and when it is back each has its saga, once', async () => {
  const temporal = await startOwnTemporal();
  cleanUps.push(temporal.remove);
  const service = await serviceWith(temporal.environment);
  const roles = rolesFor(service);
  const api = await roles.start('api');
  const relay = await roles.startProgram('run-fault-relay.ts');
  await roles.start('worker');
  const client = createHttpClient(api.url);
  const startCalls = (): number => startCallsOf(relay).length;

  const before = await submitMany(client, 12);
  await eventually(async () => ((await endedCount(service)) > 0 ? true : undefined));
  await temporal.kill();
  const callsBefore = startCalls();

  const during = await submitMany(client, 50);
  // One of them is cancelled at once: its start and its cancellation wait in this order.
  const [cancelled = ''] = during;
  await service.commands.cancel(cancelled, 'changed my mind', 'customer', metadata);
  // Temporal's absence delays no handler.
  await eventually(async () => {
    const waiting = await service.parts.db
      .selectFrom('outbox')
      .select('id')
      .where('destination', '=', 'bus')
      .where('state', '=', 'pending')
      .executeTakeFirst();
    return waiting === undefined ? true : undefined;
  });
  const starts = await service.parts.db
    .selectFrom('outbox')
    .select(['state', 'attempts'])
    .where('aggregate_id', 'in', during)
    .where('destination', '=', 'temporal')
    .execute();
  expect(starts).toHaveLength(51);
  expect(starts.every(({ state }) => state === 'pending')).toBe(true);
  expect((await client.get('/readyz')).status).toBe(503);
  const callsMeanwhile = startCalls() - callsBefore;
  console.log(`${callsMeanwhile} start calls while Temporal was away`);
  expect(callsMeanwhile).toBeLessThanOrEqual(3);
  const back = performance.now();
  await temporal.startAgain();
  const seconds = (): string => ((performance.now() - back) / 1000).toFixed(1);
  await eventually(async () => {
    const left = await waitingForTemporal(service);
    return left === 0 ? true : undefined;
  }, 60_000);
  console.log(`all deliveries of the outage were made ${seconds()} s after Temporal was told to start again`);
  await allEnded(service, during);
  console.log(`orders of the outage ended ${seconds()} s after Temporal was told to start again`);
  await allEnded(service, before);
  console.log(`orders that were under way ended ${seconds()} s after Temporal was told to start again`);
  expect(await booksOf(service.parts, cancelled)).toMatchObject({ status: 'cancelled', net: 0 });
  await expectBooksToBalance(service.parts, { stocked });
  // An outage burns no attempts: what was claimed is given back.
  const done = await service.parts.db
    .selectFrom('outbox')
    .select('attempts')
    .where('aggregate_id', 'in', during)
    .where('destination', '=', 'temporal')
    .execute();
  expect(done.every(({ attempts }) => attempts === 1)).toBe(true);
  for (const orderId of [...before, ...during])
    expect(await runsOf(service.parts, orderSagaId(orderId))).toHaveLength(1);
});

it('Temporal, killed with -9 amid a stream of starts, has three more begun at most, and all drain in order', async () => {
  const temporal = await startOwnTemporal();
  cleanUps.push(temporal.remove);
  const service = await serviceWith(temporal.environment);
  const roles = rolesFor(service);
  const submitted = async (count: number): Promise<readonly string[]> =>
    await Promise.all(
      Array.from({ length: count }, async () => await service.submit({ paymentMethod: 'pm_declined' })),
    );
  // So many that the relay always has more to start than it can.
  const orderIds = [...(await submitted(36))];
  const relay = await roles.startProgram('run-fault-relay.ts');
  const cancelled: string[] = [];
  let killedAt = 0;
  const kill = async (): Promise<void> => {
    const killed = temporal.kill();
    killedAt = Date.now();
    await killed;
  };
  const moments = [
    { name: 'at any moment', happens: kill },
    { name: 'with starts on their way', happens: async () => await whileStartsAreHeld(service, kill) },
  ];

  for (const moment of moments) {
    const begun = startCallsOf(relay).length;
    await eventually(async () => (startCallsOf(relay).length >= begun + 8 ? true : undefined));
    const outages = awayOf(relay);
    await moment.happens();
    const during = await submitted(6);
    orderIds.push(...during);
    for (const orderId of during.slice(0, 2)) {
      await service.commands.cancel(orderId, 'too slow', 'customer', metadata);
      cancelled.push(orderId);
    }
    // What hangs is given up on, and the next question finds nobody.
    await eventually(async () => (awayOf(relay) > outages ? true : undefined));
    expect(await waitingForTemporal(service)).toBeGreaterThan(0);
    const meanwhile = startCallsOf(relay).filter((time) => time >= killedAt).length;
    console.log(`${meanwhile} start calls after Temporal was killed ${moment.name}`);
    expect(meanwhile).toBeLessThanOrEqual(3);
    await temporal.startAgain();
  }

  await eventually(async () => ((await waitingForTemporal(service)) === 0 ? true : undefined), 60_000);
  for (const orderId of orderIds) expect(await runsOf(service.parts, orderSagaId(orderId))).toHaveLength(1);
  const deliveries = await service.parts.db
    .selectFrom('outbox')
    .select(['aggregate_id', 'event_type', 'attempts'])
    .where('destination', '=', 'temporal')
    .orderBy('published_at')
    .execute();
  expect(deliveries.every(({ attempts }) => attempts === 1)).toBe(true);
  const told = (orderId: string): readonly string[] =>
    deliveries.filter((one) => one.aggregate_id === orderId).map((one) => one.event_type);
  for (const orderId of cancelled) expect(told(orderId)).toEqual(['order.submitted', 'order.cancellation_requested']);
});

/** The relay has let a round of deliveries in, and none has come from PostgreSQL to its call. */
async function whileStartsAreHeld({ parts: { db } }: SagaService, work: () => Promise<void>): Promise<void> {
  await sql`create or replace function hold_start() returns trigger language plpgsql as
    $$ begin perform pg_advisory_xact_lock_shared(1); return new; end $$`.execute(db);
  await sql`create trigger hold_start before insert on saga_starts for each row execute function hold_start()`.execute(
    db,
  );
  await db.transaction().execute(async (tx) => {
    await sql`select pg_advisory_xact_lock(1)`.execute(tx);
    await eventually(async () => {
      const { rows } = await sql`
        select from pg_locks where locktype = 'advisory' and not granted and database = (
          select oid from pg_database where datname = current_database())`.execute(tx);
      return rows.length >= 5 ? true : undefined;
    });
    await work();
  });
}

type LogLine = Readonly<{ msg: string; time: string | number }>;
const linesOf = (role: RoleProcess, start: string): readonly LogLine[] =>
  role
    .log()
    .split('\n')
    .filter((line) => line.includes(`"msg":"${start}`))
    .map((line) => JSON.parse(line) as LogLine);

/** When each began, by the clock of this machine. */
const startCallsOf = (relay: RoleProcess): readonly number[] =>
  linesOf(relay, 'start call').map(({ time }) => new Date(time).getTime());

const awayOf = (relay: RoleProcess): number => linesOf(relay, 'the destination is away').length;
