// SIGTERM to each role in the middle of its work: it ends in order within its grace time, and nothing is lost.
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance } from '../../support/books.ts';
import { createHolds } from '../../support/holds.ts';
import { createHttpClient } from '../../support/http-client.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { attemptThatLived, databaseNow, secondsOfSilence, submittedOf } from '../../support/liveness.ts';
import { createRoleProcesses, type Role, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';

const graceSeconds = 10;
const stocked = { lamp: 100 };
const crowd = 20;
const methods = ['pm_ok', 'pm_flaky', 'pm_declined', 'pm_timeout'];

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function serviceWith(environment: Readonly<Record<string, string>>): Promise<SagaService> {
  const service = await startSagaService({
    worker: false,
    relay: false,
    environment: { ...environment, SHUTDOWN_GRACE_SECONDS: String(graceSeconds) },
  });
  cleanUps.push(async () => await service.stop());
  await service.stock(stocked.lamp);
  return service;
}

function rolesFor(service: SagaService, more: Readonly<Record<string, string>> = {}): RoleProcesses {
  const roles = createRoleProcesses({ ...service.environment, ...more });
  cleanUps.push(async () => await roles.stop());
  return roles;
}

async function makeDrafts(service: SagaService): Promise<readonly string[]> {
  return await Promise.all(
    Array.from({ length: crowd }, async (_, index) => {
      const orderId = newId();
      const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];
      const paymentMethod = methods[index % methods.length] ?? 'pm_ok';
      await service.commands.create({ orderId, customerId: 'c-1', currency: 'EUR', paymentMethod, items }, metadata);
      return orderId;
    }),
  );
}

/** Four at a time, each again until some API has answered; the URL may change meanwhile. */
async function submitAll(orderIds: readonly string[], urlOf: () => string): Promise<void> {
  const left = [...orderIds];
  const submitOne = async (orderId: string): Promise<void> => {
    const key = { 'Idempotency-Key': `submit-${orderId}` };
    for (;;) {
      const client = createHttpClient(urlOf());
      const reply = await client.post(`/orders/${orderId}/submit`, undefined, key).catch(() => undefined);
      if (reply?.status === 202) return;
      // No API at the moment, or one that says "try again"; anything else is no answer to a proper request.
      if (reply !== undefined) expect([409, 503]).toContain(reply.status);
      await delay(20);
    }
  };
  await Promise.all(
    [1, 2, 3, 4].map(async () => {
      for (let orderId = left.shift(); orderId !== undefined; orderId = left.shift()) await submitOne(orderId);
    }),
  );
}

const countOf = async (service: SagaService, statuses: readonly ('confirmed' | 'failed' | 'submitted')[]) =>
  (await service.parts.db.selectFrom('orders').select('order_id').where('status', 'in', statuses).execute()).length;

/** Payment id and time are set by the handler of payment.completed, wherever it runs. */
async function handlersHaveRun({ parts }: SagaService): Promise<void> {
  await eventually(async () => {
    const without = await parts.db
      .selectFrom('orders')
      .select('order_id')
      .where('status', '=', 'confirmed')
      .where((eb) => eb.or([eb('payment_id', 'is', null), eb('paid_at', 'is', null)]))
      .executeTakeFirst();
    return without === undefined ? true : undefined;
  });
}

const split: readonly Role[] = ['worker', 'consumer', 'relay', 'api'];
const cases: readonly (readonly [Role, readonly Role[]])[] = [
  ['api', split],
  ['worker', split],
  ['relay', split],
  ['consumer', split],
  ['all', ['all']],
];

it.each(cases)('SIGTERM to role %s, under load, loses nothing', async (role, layout) => {
  let redis: TestRedis | undefined;
  if (layout === split) {
    redis = await startRedis();
    cleanUps.push(redis.stop);
  }
  const service = await serviceWith(redis === undefined ? {} : { REDIS_URL: redis.url });
  const roles = rolesFor(service);
  const running = new Map<Role, RoleProcess>();
  for (const each of layout) running.set(each, await roles.start(each));
  const orderIds = await makeDrafts(service);
  const submitting = submitAll(orderIds, () => (running.get('api') ?? running.get('all'))?.url ?? '');

  // In the middle: some have ended, some are under way, some are not even submitted where the API is concerned.
  await eventually(async () => ((await countOf(service, ['confirmed', 'failed'])) > 0 ? true : undefined));
  const victim = running.get(role);
  const end = await victim?.terminate();
  console.log(`${role}: exit code ${end?.code} after ${end?.milliseconds} ms, under load`);
  expect({ code: end?.code, signal: end?.signal }).toEqual({ code: 0, signal: null });
  expect(end?.milliseconds).toBeLessThan(graceSeconds * 1000);
  // Nothing went wrong on the way out.
  expect(victim?.log()).not.toContain('"level":50');
  expect(await countOf(service, ['submitted', 'confirmed', 'failed'])).toBeGreaterThan(0);

  running.set(role, await roles.start(role));
  await submitting;
  for (const orderId of orderIds) await service.ended(orderId);
  expect(await countOf(service, ['failed'])).toBe(crowd / methods.length);
  await expectBooksToBalance(service.parts, { stocked });
  await handlersHaveRun(service);

  for (const [name, process] of running) {
    const { code, milliseconds } = await process.terminate();
    console.log(`${name}: exit code ${code} after ${milliseconds} ms, at rest`);
    expect(code, name).toBe(0);
  }
});

/** Of the step that is done; none as long as it is not. */
async function attemptsToCharge({ parts }: SagaService, orderId: string): Promise<readonly number[]> {
  const rows = await parts.db
    .selectFrom('saga_steps')
    .select('attempts')
    .where('workflow_id', '=', orderSagaId(orderId))
    .where('step', '=', 'charge')
    .where('state', '=', 'done')
    .execute();
  return rows.map((row) => row.attempts);
}

it('SIGTERM to a worker in the middle of a charge waits for it, and no attempt is lost', async () => {
  const service = await serviceWith({});
  const holds = createHolds();
  cleanUps.push(async () => holds.remove());
  const roles = rolesFor(service, holds.environment);
  await roles.start('relay');
  const worker = await roles.startProgram('run-fault-worker.ts');
  const orderId = newId();
  holds.hold(orderSagaId(orderId), 'after:capture');
  await service.submit({ orderId });
  await holds.reached(orderSagaId(orderId), 'after:capture');
  const ending = worker.terminate();
  await eventually(async () => (worker.log().includes('"msg":"stopping"') ? true : undefined));
  holds.release(orderSagaId(orderId), 'after:capture');
  expect(await ending).toMatchObject({ code: 0, signal: null });
  // Its activity was completed, not handed over.
  expect(await attemptsToCharge(service, orderId)).toEqual([1]);
  const before = performance.now();
  await roles.start('worker');
  await service.ended(orderId);
  console.log(`went on ${((performance.now() - before) / 1000).toFixed(1)} s after the next worker was told to start`);
  expect(await attemptsToCharge(service, orderId)).toEqual([1]);
  expect(await booksOf(service.parts, orderId)).toMatchObject({ status: 'confirmed', captures: 1 });
  await expectBooksToBalance(service.parts, { stocked });
});

it('a rolling deploy, where the next worker is there already: the old one ends its charge, and no other order waits', async () => {
  const service = await serviceWith({});
  const holds = createHolds();
  cleanUps.push(async () => holds.remove());
  const roles = rolesFor(service, holds.environment);
  await roles.start('relay');
  const workers = [await roles.startProgram('run-fault-worker.ts'), await roles.startProgram('run-fault-worker.ts')];
  const orderId = newId();
  const workflowId = orderSagaId(orderId);
  holds.hold(workflowId, 'after:capture');
  await service.submit({ orderId });
  const pid = await holds.reached(workflowId, 'after:capture');
  const old = workers.find((worker) => worker.pid === pid);
  if (old === undefined) throw new Error('none of the two has taken the charge');
  const others = await Promise.all(Array.from({ length: 12 }, async () => await service.submit()));

  const since = await databaseNow(service);
  const ending = old.terminate();
  await eventually(async () => (old.log().includes('"msg":"stopping"') ? true : undefined));
  const underWay = await submittedOf(service, others);
  // On its way out it still says that its charge lives, so the next one does not begin it again.
  const attempt = await attemptThatLived(service, workflowId, 2);
  holds.release(workflowId, 'after:capture');
  expect(await ending).toMatchObject({ code: 0, signal: null });
  expect(await attemptsToCharge(service, orderId)).toEqual([attempt]);

  // Its cached runs, and what was on its way to it at that moment, are the next one's.
  const silences = await Promise.all(underWay.map(async (each) => await secondsOfSilence(service, each, since)));
  const longest = Math.max(0, ...silences);
  console.log(`of ${underWay.length} orders the last went on ${longest.toFixed(1)} s after SIGTERM`);
  expect(longest).toBeLessThan(8);
  await service.ended(orderId);
  expect(await attemptsToCharge(service, orderId)).toEqual([attempt]);
  expect(await booksOf(service.parts, orderId)).toMatchObject({ status: 'confirmed', captures: 1 });
  for (const each of others) await service.ended(each);
  await expectBooksToBalance(service.parts, { stocked });
});
