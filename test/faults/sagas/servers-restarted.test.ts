// PostgreSQL or Temporal goes away while sagas run, and comes back with its data.
import { afterEach, expect, it } from 'vitest';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance, runsOf } from '../../support/books.ts';
import { createHttpClient, createOrder, type HttpClient } from '../../support/http-client.ts';
import { submittedOf } from '../../support/liveness.ts';
import { startOwnPostgres } from '../../support/own-postgres.ts';
import { startOwnTemporal } from '../../support/own-temporal.ts';
import { createRoleProcesses, type RoleProcesses } from '../../support/role-process.ts';
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
  const startCalls = (): number => relay.log().split('"msg":"start call"').length - 1;

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
