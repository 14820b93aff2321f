// Cancelling at every stage before the confirmation, against a worker that is held exactly there.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId, refundOrderId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance, runsOf } from '../../support/books.ts';
import { untilCancellationIsTold } from '../../support/delivery-books.ts';
import type { HoldPoint } from '../../support/hold-points.ts';
import { createHolds, type Holds } from '../../support/holds.ts';
import { createRoleProcesses, type RoleProcesses } from '../../support/role-process.ts';
import {
  eventTypes,
  eventually,
  metadata,
  startSagaService,
  stepsOf,
  type SagaService,
} from '../../support/saga-service.ts';

const stocked = { lamp: 100 };

let service: SagaService;
let roles: RoleProcesses;
let holds: Holds;

beforeAll(async () => {
  service = await startSagaService({ worker: false });
  roles = createRoleProcesses(service.environment);
  holds = createHolds();
  await service.stock(stocked.lamp);
});
afterAll(async () => {
  await roles.stop();
  await service.stop();
  holds.remove();
});

const cancel = async (orderId: string, reason = 'changed my mind'): Promise<unknown> =>
  await service.commands.cancel(orderId, reason, 'customer', metadata);

async function heldAt(point: HoldPoint, paymentMethod = 'pm_ok'): Promise<string> {
  const orderId = newId();
  holds.hold(orderSagaId(orderId), point);
  await service.submit({ orderId, paymentMethod });
  await holds.reached(orderSagaId(orderId), point);
  return orderId;
}

async function expectCancelled(
  orderId: string,
  expected: Readonly<{ moved: 0 | 1; reservation: string | null; reason?: string }>,
): Promise<void> {
  const { moved, reservation, reason = 'changed my mind' } = expected;
  await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
  expect(await booksOf(service.parts, orderId)).toEqual({
    status: 'cancelled',
    reservation,
    captures: moved,
    refunds: moved,
    net: 0,
  });
  const events = await service.parts.store.getEvents(orderId);
  expect(events.filter((event) => event.eventType === 'order.cancelled')).toHaveLength(1);
  expect(events.at(-1)).toMatchObject({ eventType: 'order.cancelled', payload: { reason, cancelledBy: 'customer' } });
}

describe('an order that is cancelled before any worker has seen it', () => {
  it('ends cancelled and has never reserved anything', async () => {
    const orderId = await service.submit();
    await cancel(orderId);
    await untilCancellationIsTold(service.parts, orderId);
    const worker = await roles.start('worker');
    await expectCancelled(orderId, { moved: 0, reservation: null });
    expect(await stepsOf(service, orderId)).toEqual({ end: 'done' });
    expect((await worker.terminate()).code).toBe(0);
  });
});

describe('an order that is cancelled while its saga', () => {
  beforeAll(async () => {
    await roles.startProgram('run-fault-worker.ts', { ...holds.environment, DATABASE_POOL_SIZE: '30' });
  });

  const stages: readonly (readonly [string, HoldPoint, 0 | 1])[] = [
    ['is about to reserve', 'begin:reserveInventory', 0],
    ['reserves', 'uncommitted:reserveInventory', 0],
    ['has reserved', 'committed:reserveInventory', 0],
    ['prepares the payment', 'after:prepare', 1],
    ['is about to capture', 'before:capture', 1],
    ['has captured and does not know it yet', 'after:capture', 1],
    ['has charged', 'committed:chargePayment', 1],
    ['is about to confirm', 'begin:confirmOrder', 1],
  ];
  it.each(stages)('%s (%s) ends cancelled, with nothing held and all money back', async (_stage, point, moved) => {
    const orderId = await heldAt(point);
    await cancel(orderId);
    await untilCancellationIsTold(service.parts, orderId);
    holds.release(orderSagaId(orderId), point);
    await expectCancelled(orderId, { moved, reservation: 'released' });
    expect(await eventTypes(service, orderId)).not.toContain('order.confirmed');
    expect(await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).result()).toMatchObject({
      status: 'cancelled',
    });
  });

  it.each(stages)(
    '%s (%s), by Temporal’s own cancel, ends the same way, its run as cancelled',
    async (_stage, point, moved) => {
      const orderId = await heldAt(point);
      const handle = service.parts.temporal.workflow.getHandle(orderSagaId(orderId));
      await handle.cancel();
      holds.release(orderSagaId(orderId), point);
      // To confirm is the pivot: a cancel that no event of the order records comes too late for it.
      if (point === 'begin:confirmOrder') {
        expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
        expect(await handle.result()).toMatchObject({ status: 'confirmed' });
        return;
      }
      expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
      expect(await booksOf(service.parts, orderId)).toMatchObject({ captures: moved, refunds: moved, net: 0 });
      await expect(handle.result()).rejects.toThrow();
      expect((await handle.describe()).status.name).toBe('CANCELLED');
    },
  );

  it('waits to try a failed charge again brings the charge to an answer, and then back', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_flaky' });
    const handle = service.parts.temporal.workflow.getHandle(orderSagaId(orderId));
    await eventually(async () => {
      const pending = (await handle.describe().catch(() => undefined))?.raw.pendingActivities ?? [];
      // Between the second failure and the third attempt: a second's back-off.
      return pending.some(({ attempt, lastFailure }) => attempt === 3 && lastFailure) ? true : undefined;
    });
    await cancel(orderId);
    await expectCancelled(orderId, { moved: 1, reservation: 'released' });
  });

  it('charges a payment that is then declined ends cancelled: it was asked to before it failed', async () => {
    const orderId = await heldAt('before:capture', 'pm_declined');
    await cancel(orderId);
    await untilCancellationIsTold(service.parts, orderId);
    holds.release(orderSagaId(orderId), 'before:capture');
    await expectCancelled(orderId, { moved: 0, reservation: 'released' });
  });

  it('already undoes a declined order ends cancelled', async () => {
    const orderId = await heldAt('begin:releaseInventory', 'pm_declined');
    await cancel(orderId);
    await untilCancellationIsTold(service.parts, orderId);
    holds.release(orderSagaId(orderId), 'begin:releaseInventory');
    await expectCancelled(orderId, { moved: 0, reservation: 'released' });
  });

  it('already undoes it, a second time and in Temporal too, undoes it once', async () => {
    const orderId = newId();
    const workflowId = orderSagaId(orderId);
    for (const point of ['before:capture', 'after:refund'] as const) holds.hold(workflowId, point);
    await service.submit({ orderId });
    await holds.reached(workflowId, 'before:capture');
    await cancel(orderId);
    await untilCancellationIsTold(service.parts, orderId);
    holds.release(workflowId, 'before:capture');
    await holds.reached(workflowId, 'after:refund');
    await cancel(orderId, 'really');
    await service.parts.temporal.workflow.getHandle(workflowId).cancel();
    holds.release(workflowId, 'after:refund');
    await expectCancelled(orderId, { moved: 1, reservation: 'released' });
  });

  it('runs, twice at the same moment, is cancelled once', async () => {
    const orderId = await heldAt('before:capture');
    await Promise.all([cancel(orderId, 'one'), cancel(orderId, 'one')]);
    await untilCancellationIsTold(service.parts, orderId);
    holds.release(orderSagaId(orderId), 'before:capture');
    await expectCancelled(orderId, { moved: 1, reservation: 'released', reason: 'one' });
    const types = await eventTypes(service, orderId);
    expect(types.filter((type) => type === 'order.cancellation_requested')).toHaveLength(1);
  });
});

describe('cancel against confirm', () => {
  it('goes to the cancel that is appended while the confirmation is being written', async () => {
    const orderId = await heldAt('begin:confirmOrder');
    await cancel(orderId);
    // Not even delivered: the order's stream alone decides.
    holds.release(orderSagaId(orderId), 'begin:confirmOrder');
    await expectCancelled(orderId, { moved: 1, reservation: 'released' });
    expect(await eventTypes(service, orderId)).not.toContain('order.confirmed');
  });

  it('goes to the confirmation that was appended first, and the refund then cancels the order', async () => {
    const orderId = await heldAt('committed:confirmOrder');
    await cancel(orderId);
    await untilCancellationIsTold(service.parts, orderId);
    holds.release(orderSagaId(orderId), 'committed:confirmOrder');
    await expectCancelled(orderId, { moved: 1, reservation: 'released' });
    expect((await eventTypes(service, orderId)).slice(2)).toEqual([
      'order.submitted',
      'order.confirmed',
      'order.cancellation_requested',
      'order.cancelled',
    ]);
    expect(await runsOf(service.parts, refundOrderId(orderId))).toHaveLength(1);
  });

  it('ends every order of a crowd cancelled, whichever came first', async () => {
    const orderIds = await Promise.all(Array.from({ length: 12 }, async () => await service.submit()));
    // Each is cancelled as soon as its own saga has got so far: spread over the steps by what they wait for.
    const steps = ['reserve', 'charge', 'confirm'];
    await Promise.all(
      orderIds.map(async (orderId, index) => {
        const step = steps[index % steps.length];
        await eventually(async () => ((await stepsOf(service, orderId))[step ?? ''] === undefined ? undefined : true));
        await cancel(orderId);
      }),
    );
    for (const orderId of orderIds) {
      await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
      const types = await eventTypes(service, orderId);
      const confirmed = types.indexOf('order.confirmed');
      if (confirmed >= 0) expect(confirmed).toBeLessThan(types.indexOf('order.cancellation_requested'));
      expect(await booksOf(service.parts, orderId)).toMatchObject({ reservation: 'released', net: 0 });
    }
  });
});

describe('after all of it', () => {
  beforeEach(async () => {
    const { db } = service.parts;
    await eventually(async () => {
      const open = await db
        .selectFrom('orders')
        .select('order_id')
        .where('status', '=', 'submitted')
        .executeTakeFirst();
      return open === undefined ? true : undefined;
    });
  });

  it('stock, money and deliveries balance', async () => {
    await expectBooksToBalance(service.parts, { stocked });
  });
});
