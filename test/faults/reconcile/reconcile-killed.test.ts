// reconcile --repair killed with -9 in the middle, beside running sagas, and with histories that are really deleted.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance, runsOf } from '../../support/books.ts';
import { createHolds, type Holds } from '../../support/holds.ts';
import {
  createStuckSteps,
  deleteRun,
  reconcileNow,
  said,
  startBusyService,
  terminate,
  type StuckSteps,
} from '../../support/reconcile.ts';
import { payFor } from '../../support/refunds.ts';
import { createRoleProcesses, type RoleProcesses } from '../../support/role-process.ts';
import { eventTypes, eventually, metadata, type SagaService } from '../../support/saga-service.ts';

const stocked = { lamp: 1000 };
let service: SagaService;
let roles: RoleProcesses;
let holds: Holds;
let steps: StuckSteps;

beforeAll(async () => {
  service = await startBusyService({ environment: { DATABASE_POOL_SIZE: '30' } });
  roles = createRoleProcesses(service.environment);
  holds = createHolds();
  steps = createStuckSteps(service);
  await service.stock(stocked.lamp);
});
afterAll(async () => {
  await roles.stop();
  await service.stop();
  holds.remove();
});

async function lostAt(activity: Parameters<StuckSteps['hold']>[1]): Promise<string> {
  const orderId = newId();
  steps.hold(orderId, activity);
  await service.submit({ orderId });
  await steps.reached(orderId, activity);
  await terminate(service, orderSagaId(orderId));
  steps.free(orderId, activity);
  return orderId;
}

const chargeWithoutOrder = async (): Promise<string> => await payFor(service, { amount: 700 });

const repair = async () => await reconcileNow(service, { repair: true });

async function killAt(id: string, point: Parameters<Holds['hold']>[1]): Promise<void> {
  holds.hold(id, point);
  const process = await roles.startProgram('run-fault-reconcile.ts', holds.environment);
  await holds.reached(id, point);
  await process.kill();
}

describe('a reconciliation that is killed with -9', () => {
  it.each(['before:refund', 'after:refund'] as const)('%s leaves it to the next, which refunds once', async (point) => {
    const paymentId = await chargeWithoutOrder();
    await killAt(paymentId, point);
    const kind = point === 'before:refund' ? 'charge-held' : 'payment-event-missing';
    expect(said(await repair(), 'payment')).toEqual([`${kind} ${paymentId} mended`]);
    expect(await service.parts.gateway.get(paymentId)).toMatchObject({ status: 'refunded', refunded: 700 });
    const refunds = service.parts.db.selectFrom('refunds').select('amount').where('payment_id', '=', paymentId);
    expect(await refunds.execute()).toEqual([{ amount: 700 }]);
    expect(await eventTypes(service, paymentId)).toEqual(['payment.refunded']);
    expect((await repair()).findings).toEqual([]);
  });

  it('before it has started a lost saga leaves it to the next, once its claim is over', async () => {
    const orderId = await lostAt('confirmOrder');
    await killAt(orderSagaId(orderId), 'before:start');
    expect(said(await repair(), 'order')).toEqual([`saga-gone ${orderId} left`]);
    // What half a minute does to the claim.
    await service.parts.db
      .updateTable('saga_starts')
      .set({ repair_until: new Date(0) })
      .where('aggregate_id', '=', orderId)
      .execute();
    expect(said(await repair(), 'order')).toEqual([`saga-gone ${orderId} mended`]);
    await service.ended(orderId);
    expect(await booksOf(service.parts, orderId)).toMatchObject({ status: 'confirmed', captures: 1, net: 3000 });
    expect(await runsOf(service.parts, orderSagaId(orderId))).toHaveLength(2);
  });

  it('after it has started a lost saga: the run lives, and no second one is started', async () => {
    const orderId = await lostAt('confirmOrder');
    await killAt(orderSagaId(orderId), 'after:start');
    expect((await repair()).findings).toEqual([]);
    await service.ended(orderId);
    expect((await repair()).findings).toEqual([]);
    expect(await booksOf(service.parts, orderId)).toMatchObject({ status: 'confirmed', captures: 1, net: 3000 });
    expect(await runsOf(service.parts, orderSagaId(orderId))).toHaveLength(2);
  });
});

describe('a saga whose history is deleted', () => {
  it('is started again, and charges once; one that had ended is not', async () => {
    const over = await service.submit();
    await service.ended(over);
    await service.parts.temporal.workflow.getHandle(orderSagaId(over)).result();
    const lost = await lostAt('confirmOrder');
    await Promise.all([over, lost].map(async (orderId) => await deleteRun(service, orderSagaId(orderId))));
    expect(said(await repair(), 'order')).toEqual([`saga-gone ${lost} mended`]);
    await service.ended(lost);
    for (const orderId of [over, lost]) {
      expect(await booksOf(service.parts, orderId)).toEqual({
        status: 'confirmed',
        reservation: 'consumed',
        captures: 1,
        refunds: 0,
        net: 3000,
      });
    }
  });
});

describe('sagas that run while reconcile repairs again and again', () => {
  const count = 100;
  let crowd: SagaService;
  beforeAll(async () => {
    crowd = await startBusyService({ environment: { DATABASE_POOL_SIZE: '30' } });
    await crowd.stock(stocked.lamp);
  });
  afterAll(async () => await crowd.stop());

  const endedSoFar = async (): Promise<number> => {
    const ended = crowd.parts.db
      .selectFrom('orders')
      .select('order_id')
      .where('status', 'not in', ['draft', 'submitted']);
    return (await ended.execute()).length;
  };

  it('come to the end that they would have come to, a hundred of them', async () => {
    const methods = ['pm_ok', 'pm_declined', 'pm_flaky', 'pm_timeout'];
    const submitting = Promise.all(
      Array.from({ length: count }, async (_, index) => {
        const orderId = await crowd.submit({ paymentMethod: methods[index % methods.length] ?? '' });
        if (index % 10 === 0) await crowd.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
      }),
    );
    // One at the beginning, and one whenever ten more have ended, with the others under way.
    for (let next = 0; next <= count; next += 10) {
      await eventually(async () => ((await endedSoFar()) >= next ? true : undefined), 120_000);
      expect((await reconcileNow(crowd, { repair: true })).findings).toEqual([]);
    }
    await submitting;
    await expectBooksToBalance(crowd.parts, { stocked });
  });
});
