// A relay that is away, or killed with -9, between an order's commit and the start of its saga.
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance, runsOf } from '../../support/books.ts';
import { letLeasesRunOut } from '../../support/delivery-books.ts';
import type { HoldPoint } from '../../support/hold-points.ts';
import { createHolds, type Holds } from '../../support/holds.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, startSagaService, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
let roles: RoleProcesses;
let holds: Holds;

beforeEach(async () => {
  service = await startSagaService({ relay: false });
  roles = createRoleProcesses(service.environment);
  holds = createHolds();
  await service.stock(5);
});
afterEach(async () => {
  await roles.stop();
  await service.stop();
  holds.remove();
});

async function startDelivery(orderId: string): Promise<{ state: string; attempts: number; isLeased: boolean }> {
  const { rows } = await sql<{ state: string; attempts: number; isLeased: boolean }>`
    select state, attempts, coalesce(locked_until > now(), false) as "isLeased" from outbox
    where aggregate_id = ${orderId} and destination = 'temporal' and event_type = 'order.submitted'
  `.execute(service.parts.db);
  const [row] = rows;
  if (row === undefined) throw new Error('the order was not submitted');
  return row;
}

async function sagaStart(orderId: string): Promise<string | undefined> {
  const row = await service.parts.db
    .selectFrom('saga_starts')
    .select('state')
    .where('workflow_id', '=', orderSagaId(orderId))
    .executeTakeFirst();
  return row?.state;
}

/** The latest, should there be several. */
async function currentRun(orderId: string): Promise<string> {
  return (await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).describe()).runId;
}

async function expectConfirmedOnce(orderId: string): Promise<void> {
  await service.ended(orderId);
  expect(await booksOf(service.parts, orderId)).toMatchObject({ status: 'confirmed', captures: 1, net: 3000 });
  await expectBooksToBalance(service.parts, { stocked: { lamp: 5 } });
  expect(await runsOf(service.parts, orderSagaId(orderId))).toHaveLength(1);
  expect(await service.parts.db.selectFrom('saga_starts').select('state').execute()).toEqual([{ state: 'started' }]);
}

/** A relay that stops at `point` with the order's start in its hands. */
async function relayHeldAt(point: HoldPoint): Promise<Readonly<{ relay: RoleProcess; orderId: string }>> {
  const orderId = newId();
  holds.hold(orderSagaId(orderId), point);
  const relay = await roles.startProgram('run-fault-relay.ts', holds.environment);
  await service.submit({ orderId });
  await holds.reached(orderSagaId(orderId), point);
  return { relay, orderId };
}

it('starts the saga of an order that was submitted while no relay ran', async () => {
  const orderId = await service.submit();
  expect(await startDelivery(orderId)).toEqual({ state: 'pending', attempts: 0, isLeased: false });
  const before = performance.now();
  await roles.start('relay');
  await expectConfirmedOnce(orderId);
  console.log(`confirmed ${((performance.now() - before) / 1000).toFixed(1)} s after the relay was started`);
  expect(await startDelivery(orderId)).toMatchObject({ state: 'done', attempts: 1 });
});

it('starts the saga once when the relay is killed after the claim and before the call to Temporal', async () => {
  const { relay, orderId } = await relayHeldAt('before:start');
  await relay.kill();
  expect(await startDelivery(orderId)).toEqual({ state: 'pending', attempts: 1, isLeased: true });
  expect(await sagaStart(orderId)).toBe('starting');
  await letLeasesRunOut(service.parts);
  await roles.start('relay');
  await expectConfirmedOnce(orderId);
  expect(await startDelivery(orderId)).toEqual({ state: 'done', attempts: 2, isLeased: false });
});

it('starts the saga once when the relay is killed after the call to Temporal and before the mark', async () => {
  const { relay, orderId } = await relayHeldAt('after:start');
  await relay.kill();
  expect(await startDelivery(orderId)).toEqual({ state: 'pending', attempts: 1, isLeased: true });
  expect(await sagaStart(orderId)).toBe('starting');
  // It runs already, and ends, before its start is delivered again.
  await service.ended(orderId);
  const runId = await currentRun(orderId);
  await letLeasesRunOut(service.parts);
  await roles.start('relay');
  await expectConfirmedOnce(orderId);
  expect(await currentRun(orderId)).toBe(runId);
  expect(await startDelivery(orderId)).toEqual({ state: 'done', attempts: 2, isLeased: false });
});

it('starts the saga once when a relay that was slower than its lease calls Temporal after the one that took over', async () => {
  const { relay: slow, orderId } = await relayHeldAt('before:start');
  await letLeasesRunOut(service.parts);
  await roles.start('relay');
  await service.ended(orderId);
  const runId = await currentRun(orderId);
  holds.release(orderSagaId(orderId), 'before:start');
  await eventually(async () => (slow.log().includes('a lease was lost') ? true : undefined));
  await expectConfirmedOnce(orderId);
  expect(await currentRun(orderId)).toBe(runId);
  expect(await startDelivery(orderId)).toEqual({ state: 'done', attempts: 2, isLeased: false });
});

it('holds back the other orders of a killed relay no longer than its lease', async () => {
  const { relay, orderId } = await relayHeldAt('before:start');
  await relay.kill();
  await roles.start('relay');
  const other = await service.submit();
  // The dead relay's lease covers the one delivery that it had claimed.
  expect(await service.ended(other)).toMatchObject({ status: 'confirmed' });
  expect(await startDelivery(orderId)).toMatchObject({ state: 'pending', attempts: 1 });
  await letLeasesRunOut(service.parts);
  expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
  await expectBooksToBalance(service.parts, { stocked: { lamp: 5 } });
});
