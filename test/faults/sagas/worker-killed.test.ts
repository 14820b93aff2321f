// A worker killed with -9 at every boundary of a step, and then started again, or beside another one that takes over. One
// kill meets many sagas, each held at a boundary of its own.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance } from '../../support/books.ts';
import { queueIsEmpty } from '../../support/delivery-books.ts';
import type { HoldPoint } from '../../support/hold-points.ts';
import { createHolds, type Holds } from '../../support/holds.ts';
import { attemptThatLived, databaseNow, secondsOfSilence, submittedOf, workerIsReady } from '../../support/liveness.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import {
  callback,
  eventTypes,
  metadata,
  startSagaService,
  stepsOf,
  untilPaymentIsPending,
  type SagaService,
} from '../../support/saga-service.ts';

let service: SagaService;
let roles: RoleProcesses;
let holds: Holds;
let worker: RoleProcess;
const stocked: Record<string, number> = {};

beforeAll(async () => {
  service = await startSagaService({ worker: false });
  roles = createRoleProcesses(service.environment);
  holds = createHolds();
  worker = await startHeldWorker();
});
afterAll(async () => {
  await roles.stop();
  await service.stop();
  holds.remove();
});

/** It has as many steps under way as its pool has connections. */
const startHeldWorker = async (): Promise<RoleProcess> =>
  await roles.startProgram('run-fault-worker.ts', { ...holds.environment, DATABASE_POOL_SIZE: '40' });

type Held = Readonly<{ orderId: string; point: HoldPoint }>;

/** An order of its own product, whose saga stops at `point`. */
async function holdAt(point: HoldPoint, paymentMethod = 'pm_ok'): Promise<Held> {
  const orderId = newId();
  holds.hold(orderSagaId(orderId), point);
  stocked[orderId] = 5;
  await service.stock(5, orderId);
  await service.submit({ orderId, paymentMethod, items: [{ productId: orderId, quantity: 2, price: 1500 }] });
  return { orderId, point };
}

/** Charged, then cancelled before it could be confirmed, so that its saga undoes both: it stops at `point` on its way. */
async function holdUndoingAt(point: HoldPoint): Promise<Held> {
  const before = 'begin:confirmOrder';
  const held = await holdAt(before);
  const workflowId = orderSagaId(held.orderId);
  holds.hold(workflowId, point);
  await holds.reached(workflowId, before);
  await service.commands.cancel(held.orderId, 'changed my mind', 'customer', metadata);
  holds.release(workflowId, before);
  return { orderId: held.orderId, point };
}

/** All have stopped; the worker dies; the holds are lifted, for whoever comes next. */
async function killWith(held: readonly Held[]): Promise<void> {
  await Promise.all(held.map(async ({ orderId, point }) => await holds.reached(orderSagaId(orderId), point)));
  await worker.kill();
  // Nobody has gone on meanwhile: a hold that outlives its attempt would have been passed by the next one.
  for (const { orderId, point } of held) {
    const wasLast = point === 'committed:confirmOrder' || point === 'committed:endOrder';
    if (!wasLast) expect((await service.order(orderId)).status, point).toBe('submitted');
  }
}

const forward: readonly (readonly [HoldPoint, string])[] = [
  ['begin:reserveInventory', 'before it reserves'],
  ['uncommitted:reserveInventory', 'in the middle of the transaction that reserves'],
  ['committed:reserveInventory', 'after the reservation’s commit, before its activity completes'],
  ['after:prepare', 'between preparing the payment and capturing it'],
  ['after:capture', 'after the gateway’s commit, before the charge’s activity completes'],
  ['committed:chargePayment', 'after the charge’s own commit, before its activity completes'],
  ['begin:confirmOrder', 'between charge and confirm'],
  ['uncommitted:confirmOrder', 'in the middle of the transaction that confirms'],
  ['committed:confirmOrder', 'after the confirmation’s commit, before its activity completes'],
];
const backward: readonly (readonly [HoldPoint, string])[] = [
  ['before:refund', 'before it refunds'],
  ['after:refund', 'after the gateway’s refund, before that is recorded'],
  ['committed:undoPayment', 'after the refund, before its activity completes'],
  ['begin:releaseInventory', 'between refund and release'],
  ['committed:releaseInventory', 'after the release’s commit, before its activity completes'],
  ['committed:endOrder', 'after the order’s end was written, before its activity completes'],
];

describe('a worker killed with -9 and started again', () => {
  let confirming: ReadonlyMap<HoldPoint, string>;
  let undoing: ReadonlyMap<HoldPoint, string>;

  beforeAll(async () => {
    const going = await Promise.all(forward.map(async ([point]) => await holdAt(point)));
    const coming = await Promise.all(backward.map(async ([point]) => await holdUndoingAt(point)));
    await killWith([...going, ...coming]);
    confirming = new Map(going.map(({ orderId, point }) => [point, orderId]));
    undoing = new Map(coming.map(({ orderId, point }) => [point, orderId]));
    const killed = performance.now();
    worker = await roles.start('worker');
    const back = performance.now();
    // One that does not end fails the test of its own boundary.
    await Promise.allSettled(
      [...going, ...coming].map(async ({ orderId, point }) => {
        await service.ended(orderId);
        const seconds = (since: number): string => ((performance.now() - since) / 1000).toFixed(1);
        console.log(
          `${point}: ended ${seconds(killed)} s after the kill, ${seconds(back)} s after the new worker's start`,
        );
      }),
    );
  });

  it.each(forward)('%s: %s: the order is confirmed and charged once', async (point) => {
    const orderId = confirming.get(point) ?? '';
    expect(await booksOf(service.parts, orderId)).toEqual({
      status: 'confirmed',
      reservation: 'consumed',
      captures: 1,
      refunds: 0,
      net: 3000,
    });
    expect(await stepsOf(service, orderId)).toEqual({ reserve: 'done', charge: 'done', confirm: 'done' });
    expect(await eventTypes(service, orderId)).toEqual([
      'order.created',
      'order.item_added',
      'order.submitted',
      'order.confirmed',
    ]);
  });

  it.each(backward)('%s: %s: nothing of the undoing is skipped, nothing is done twice', async (point) => {
    const orderId = undoing.get(point) ?? '';
    expect(await booksOf(service.parts, orderId)).toEqual({
      status: 'cancelled',
      reservation: 'released',
      captures: 1,
      refunds: 1,
      net: 0,
    });
    expect(await stepsOf(service, orderId)).toMatchObject({ reserve: 'undone', charge: 'undone', end: 'done' });
    const payment = await service.parts.db
      .selectFrom('payments')
      .select('payment_id')
      .where('order_id', '=', orderId)
      .executeTakeFirstOrThrow();
    expect(await eventTypes(service, payment.payment_id)).toEqual(['payment.completed', 'payment.refunded']);
    expect((await eventTypes(service, orderId)).slice(2)).toEqual([
      'order.submitted',
      'order.cancellation_requested',
      'order.cancelled',
    ]);
  });

  it('leaves stock, money and deliveries in balance, and one run for each order', async () => {
    await expectBooksToBalance(service.parts, { stocked });
  });
});

/** An order whose saga waits for the gateway's callback: nothing of it is under way. */
async function waitForCallback(): Promise<Readonly<{ orderId: string; paymentId: string }>> {
  const orderId = newId();
  stocked[orderId] = 5;
  await service.stock(5, orderId);
  await service.submit({
    orderId,
    paymentMethod: 'pm_pending',
    items: [{ productId: orderId, quantity: 2, price: 7 }],
  });
  const paymentId = await untilPaymentIsPending(service, orderId);
  return { orderId, paymentId };
}

describe('a worker killed with -9 while a payment is pending', () => {
  it('finds the callback that came meanwhile when it is back', async () => {
    const { orderId, paymentId } = await waitForCallback();
    await worker.kill();
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    await queueIsEmpty(service.parts);
    worker = await roles.start('worker');
    await service.ended(orderId);
    expect(await booksOf(service.parts, orderId)).toMatchObject({ status: 'confirmed', captures: 1, net: 14 });
    await expectBooksToBalance(service.parts, { stocked });
  });
});

/**
 * 2 s without a heartbeat and 0.5 s before the retry, or 1 s for the sticky queue, make 3 s on a quiet machine (printed).
 * This allows for a very busy one, and is still below the 10 s that each of Temporal's time-outs is by default.
 */
const mostSeconds = 8;

describe('a worker killed with -9 beside another one', () => {
  const held: readonly (readonly [HoldPoint, string])[] = [
    ['uncommitted:reserveInventory', 'in the middle of a step'],
    ['after:capture', 'in a step, with the money taken and not yet recorded'],
    ['committed:chargePayment', 'in a step, with all done but its answer'],
    ['after:refund', 'in the middle of undoing'],
  ];
  const places = [...held, ['waiting', 'between steps'] as const];
  const silences = new Map<string, number>();
  const orders = new Map<string, string>();

  beforeAll(async () => {
    await worker.kill();
    const doomed = await startHeldWorker();
    const stopped = await Promise.all(
      held.map(async ([point]) => (point === 'after:refund' ? await holdUndoingAt(point) : await holdAt(point))),
    );
    const pending = await waitForCallback();
    await Promise.all(stopped.map(async ({ orderId, point }) => await holds.reached(orderSagaId(orderId), point)));
    worker = await roles.start('worker');
    await workerIsReady(worker);

    const since = await databaseNow(service);
    await doomed.kill();
    await callback(service, { ...pending, outcome: 'completed' });
    for (const { orderId, point } of stopped) orders.set(point, orderId);
    orders.set('waiting', pending.orderId);
    // One that does not go on fails the test of its own place.
    await Promise.allSettled(
      [...orders].map(async ([place, orderId]) => {
        const silence = await secondsOfSilence(service, orderId, since);
        silences.set(place, silence);
        await service.ended(orderId);
        const ended = ((await databaseNow(service)).getTime() - since.getTime()) / 1000;
        console.log(`${place}: went on ${silence.toFixed(1)} s after the kill, ended after ${ended.toFixed(1)} s`);
      }),
    );
  });

  it.each(places)('%s: %s: the other one goes on with the run in a few seconds', (place) => {
    expect(silences.get(place)).toBeLessThan(mostSeconds);
  });

  it('and every order ends as if nothing had happened', async () => {
    for (const [place, orderId] of orders) {
      const undone = place === 'after:refund';
      const books = await booksOf(service.parts, orderId);
      expect(books, place).toMatchObject({ status: undone ? 'cancelled' : 'confirmed', captures: 1 });
      expect(books, place).toMatchObject({ refunds: undone ? 1 : 0 });
    }
    await expectBooksToBalance(service.parts, { stocked });
  });
});

describe('a worker that stops answering and is then killed', () => {
  it('has taken on tasks that nobody works on: the other one goes on with each of them in a few seconds', async () => {
    const hung = await roles.start('worker');
    await workerIsReady(hung);
    // Its polls are open, so Temporal hands it workflow tasks and steps; none of them is begun.
    process.kill(hung.pid, 'SIGSTOP');
    const orderIds = await Promise.all(
      Array.from({ length: 12 }, async () => {
        const orderId = newId();
        stocked[orderId] = 5;
        await service.stock(5, orderId);
        await service.submit({ orderId, items: [{ productId: orderId, quantity: 2, price: 1500 }] });
        return orderId;
      }),
    );
    const since = await databaseNow(service);
    const underWay = await submittedOf(service, orderIds);
    expect(underWay).not.toEqual([]);
    await hung.kill();
    const silences = await Promise.all(
      underWay.map(async (orderId) => await secondsOfSilence(service, orderId, since)),
    );
    console.log(`${underWay.length} orders: the last went on ${Math.max(...silences).toFixed(1)} s after the kill`);
    expect(Math.max(...silences)).toBeLessThan(mostSeconds);
    for (const orderId of orderIds) expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
    await expectBooksToBalance(service.parts, { stocked });
  });
});

describe('a worker that lives', () => {
  it('keeps a step that is slow, as long as it gives signs of life', async () => {
    await worker.kill();
    worker = await startHeldWorker();
    const { orderId } = await holdAt('after:capture');
    const workflowId = orderSagaId(orderId);
    await holds.reached(workflowId, 'after:capture');
    // Longer than a silent worker is waited for.
    await attemptThatLived(service, workflowId, 3);
    holds.release(workflowId, 'after:capture');
    await service.ended(orderId);
    expect(await booksOf(service.parts, orderId)).toMatchObject({ status: 'confirmed', captures: 1, net: 3000 });
  });
});
