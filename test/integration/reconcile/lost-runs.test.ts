// Orders whose saga's run is gone, at every stage: reconcile reports them, and with --repair brings them to their end.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId, refundOrderId } from '../../../src/domain/saga-contract.ts';
import { holdDestination } from '../../../src/outbox/outbox-admin.ts';
import { booksOf, expectBooksToBalance, type OrderBooks } from '../../support/books.ts';
import {
  createStuckSteps,
  reconcileNow,
  said,
  startBusyService,
  terminate,
  type Reconciled,
  type StuckSteps,
} from '../../support/reconcile.ts';
import {
  callback,
  eventTypes,
  eventually,
  metadata,
  untilPending,
  type SagaService,
} from '../../support/saga-service.ts';

let service: SagaService;
let steps: StuckSteps;
const stocked: Record<string, number> = {};

beforeAll(async () => {
  // A dozen sagas have steps under way beside the reconciliation's own queries.
  service = await startBusyService({ environment: { DATABASE_POOL_SIZE: '30' } });
  steps = createStuckSteps(service);
});
afterAll(async () => await service.stop());

/** Of a product of its own. */
async function order(paymentMethod = 'pm_ok', orderId = newId()): Promise<string> {
  stocked[orderId] = 5;
  await service.stock(5, orderId);
  await service.submit({ orderId, paymentMethod, items: [{ productId: orderId, quantity: 2, price: 1500 }] });
  return orderId;
}

/** Its delivery counts as done, and no run was ever started. */
async function submitUndelivered(): Promise<string> {
  const { db } = service.parts;
  await holdDestination(db, 'temporal', true);
  const orderId = await order();
  await sql`update outbox set state = 'done', published_at = now() where aggregate_id = ${orderId}`.execute(db);
  await holdDestination(db, 'temporal', false);
  return orderId;
}

type Step = Parameters<StuckSteps['hold']>[1];
async function stuckAt(activity: Step, paymentMethod?: string): Promise<string> {
  const orderId = newId();
  steps.hold(orderId, activity);
  await order(paymentMethod, orderId);
  await steps.reached(orderId, activity);
  return orderId;
}

/** Charged and then cancelled, so that its saga undoes both: stuck on the way back. */
async function stuckUndoing(activity: Step): Promise<string> {
  const orderId = await stuckAt('confirmOrder');
  await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
  steps.hold(orderId, activity);
  steps.free(orderId, 'confirmOrder');
  await steps.reached(orderId, activity);
  return orderId;
}

async function waitingForPayment(): Promise<string> {
  const orderId = await order('pm_pending');
  await paymentOf(orderId);
  return orderId;
}

const paymentOf = async (orderId: string): Promise<string> =>
  await eventually(async () => {
    const row = await service.parts.db
      .selectFrom('payments')
      .select(['payment_id', 'capture_attempts'])
      .where('order_id', '=', orderId)
      .executeTakeFirst();
    return row !== undefined && row.capture_attempts > 0 ? row.payment_id : undefined;
  });

const charged = { captures: 1, refunds: 0, net: 3000 };
const refunded = { captures: 1, refunds: 1, net: 0 };
const unmoved = { captures: 0, refunds: 0, net: 0 };
const confirmed = { status: 'confirmed', reservation: 'consumed', ...charged };

const stages: readonly (readonly [string, () => Promise<string>, OrderBooks])[] = [
  ['before it reserves', async () => await stuckAt('reserveInventory'), confirmed],
  ['after it has reserved', async () => await stuckAt('chargePayment'), confirmed],
  ['after it has charged', async () => await stuckAt('confirmOrder'), confirmed],
  [
    'after the gateway has refunded, with that unrecorded',
    async () => await stuckUndoing('undoPayment'),
    { status: 'cancelled', reservation: 'released', ...refunded },
  ],
  [
    'between refund and release',
    async () => await stuckUndoing('releaseInventory'),
    { status: 'cancelled', reservation: 'released', ...refunded },
  ],
  [
    'before the order’s end is written',
    async () => await stuckUndoing('endOrder'),
    { status: 'cancelled', reservation: 'released', ...refunded },
  ],
  [
    'after a decline, before the release',
    async () => await stuckAt('releaseInventory', 'pm_declined'),
    { status: 'failed', reservation: 'released', ...unmoved },
  ],
  [
    'after a decline in an unknown currency, before the release',
    async () => {
      const orderId = newId();
      steps.hold(orderId, 'releaseInventory');
      stocked[orderId] = 5;
      await service.stock(5, orderId);
      const items = [{ productId: orderId, quantity: 2, price: 1500 }];
      await service.submit({ orderId, currency: 'ISK', items });
      await steps.reached(orderId, 'releaseInventory');
      return orderId;
    },
    { status: 'failed', reservation: 'released', ...unmoved },
  ],
  [
    'after it was charged and asked to cancel',
    async () => {
      const orderId = await stuckAt('confirmOrder');
      await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
      return orderId;
    },
    { status: 'cancelled', reservation: 'released', ...refunded },
  ],
  [
    'after somebody has cancelled it in Temporal',
    async () => {
      const orderId = await stuckAt('chargePayment');
      await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).cancel();
      return orderId;
    },
    { status: 'cancelled', reservation: 'released', ...unmoved },
  ],
  ['while it waits for the payment', waitingForPayment, confirmed],
];

describe('a run that is gone', () => {
  /** A dozen sagas at a dozen steps, on a machine that may be busy. */
  const setUpMilliseconds = 240_000;
  const orders = new Map<string, string>();
  let neverStarted: string;
  let over: string;
  let alive: string;
  let report: Reconciled;
  let repair: Reconciled;

  beforeAll(async () => {
    await Promise.all(stages.map(async ([stage, arrange]) => orders.set(stage, await arrange())));
    [alive, over] = await Promise.all([stuckAt('chargePayment'), order()]);
    await service.ended(over);
    await service.parts.temporal.workflow.getHandle(orderSagaId(over)).result();
    neverStarted = await submitUndelivered();
    await eventually(async () => {
      const pending = await service.parts.db.selectFrom('outbox').select('id').where('state', '=', 'pending').execute();
      return pending.length === 0 ? true : undefined;
    });
    const lost = [...orders.values(), neverStarted];
    for (const orderId of orders.values()) await terminate(service, orderSagaId(orderId));
    for (const orderId of lost) {
      for (const step of ['reserveInventory', 'chargePayment', 'confirmOrder', 'undoPayment'] as const)
        steps.free(orderId, step);
      for (const step of ['releaseInventory', 'endOrder'] as const) steps.free(orderId, step);
    }
    report = await reconcileNow(service, { repair: false });
    repair = await reconcileNow(service, { repair: true });
    const waiting = orders.get('while it waits for the payment') ?? '';
    await callback(service, { orderId: waiting, paymentId: await paymentOf(waiting), outcome: 'completed' });
    await Promise.allSettled(lost.map(async (orderId) => await service.ended(orderId)));
  }, setUpMilliseconds);

  it('is reported for each of the orders, with nothing done, and for no other', () => {
    const lost = [...orders.values(), neverStarted];
    expect(said(report, 'order')).toEqual(lost.map((orderId) => `saga-gone ${orderId} found`).toSorted());
    expect(report).toMatchObject({ differences: lost.length, mended: 0, notCompared: [] });
  });

  it('is mended for each of them', () => {
    const lost = [...orders.values(), neverStarted];
    expect(said(repair, 'order')).toEqual(lost.map((orderId) => `saga-gone ${orderId} mended`).toSorted());
    expect(repair).toMatchObject({ differences: 0, mended: lost.length });
  });

  it.each(stages)('%s: the order comes to its end, with effects once', async (stage, _arrange, books) => {
    const orderId = orders.get(stage) ?? '';
    expect(await booksOf(service.parts, orderId)).toEqual(books);
    const ends = (await eventTypes(service, orderId)).filter((type) => /confirmed|failed|cancelled$/.test(type));
    expect(ends).toEqual([`order.${books.status}`]);
  });

  it('tells why an order failed that had been declined before its run was lost', async () => {
    const declined = await service.order(orders.get('after a decline, before the release') ?? '');
    expect(declined.failureReason).toMatch(/^payment-declined: /);
  });

  it('or was never there, although its event was delivered: the saga is started', async () => {
    expect(await booksOf(service.parts, neverStarted)).toEqual(confirmed);
  });

  it('of an order that has ended is nothing to mend, and one that lives keeps its place', async () => {
    expect(await booksOf(service.parts, over)).toEqual(confirmed);
    const { runId } = await service.parts.temporal.workflow.getHandle(orderSagaId(alive)).describe();
    const start = await service.parts.db
      .selectFrom('saga_starts')
      .select(['run_id', 'repairs'])
      .where('aggregate_id', '=', alive)
      .executeTakeFirstOrThrow();
    expect(start).toEqual({ run_id: runId, repairs: 0 });
  });

  it('leaves the books in balance, and nothing for a second reconciliation', async () => {
    steps.free(alive, 'chargePayment');
    await service.ended(alive);
    await expectBooksToBalance(service.parts, { stocked });
    expect((await reconcileNow(service, { repair: true })).findings).toEqual([]);
  });
});

describe('a refund whose run is gone', () => {
  it('is brought to its end by another run', async () => {
    const orderId = await order();
    await service.ended(orderId);
    service.faults.refund = async () => {
      throw new Error('the test holds refunds');
    };
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await untilPending(service, refundOrderId(orderId), 'refundOrderPayment');
    await terminate(service, refundOrderId(orderId));
    delete service.faults.refund;
    const { findings } = await reconcileNow(service, { repair: true });
    expect(findings).toMatchObject([{ kind: 'refund-gone', outcome: 'mended', ids: { order: orderId } }]);
    await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
    expect(await booksOf(service.parts, orderId)).toEqual({
      status: 'cancelled',
      reservation: 'released',
      ...refunded,
    });
  });
});

describe('a saga that is lost again and again', () => {
  it('is repaired five times, and then needs a person', async () => {
    const orderId = await stuckAt('reserveInventory');
    await terminate(service, orderSagaId(orderId));
    await service.parts.db.updateTable('saga_starts').set({ repairs: 5 }).where('aggregate_id', '=', orderId).execute();
    const { findings } = await reconcileNow(service, { repair: true });
    expect(findings).toMatchObject([{ kind: 'saga-gone', outcome: 'person', ids: { order: orderId } }]);
    expect(findings[0]?.is).toContain('after 5 repairs');
  });

  it('is left to whoever has claimed it', async () => {
    const orderId = await stuckAt('reserveInventory');
    await terminate(service, orderSagaId(orderId));
    steps.free(orderId, 'reserveInventory');
    const [one, other] = await Promise.all([
      reconcileNow(service, { repair: true }),
      reconcileNow(service, { repair: true }),
    ]);
    const outcomes = [...one.findings, ...other.findings].filter(({ ids }) => ids['order'] === orderId);
    expect(outcomes.filter(({ outcome }) => outcome === 'mended')).toHaveLength(1);
    await service.ended(orderId);
    expect(await booksOf(service.parts, orderId)).toEqual(confirmed);
  });
});

describe('a run that was ended a moment ago', () => {
  it('is no difference before the time of grace is over', async () => {
    const orderId = await stuckAt('chargePayment');
    await terminate(service, orderSagaId(orderId));
    // The order itself was submitted long ago.
    await sql`update orders set updated_at = now() - interval '1 hour' where order_id = ${orderId}`.execute(
      service.parts.db,
    );
    const { findings } = await reconcileNow(service, { repair: true, graceSeconds: 60 });
    expect(findings.filter(({ ids }) => ids['order'] === orderId)).toEqual([]);
    expect((await service.order(orderId)).status).toBe('submitted');
  });
});
