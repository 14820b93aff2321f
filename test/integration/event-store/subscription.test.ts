// Catch-up subscriptions, shown on the service's own read model of sales and on one made for the test.
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { createSubscription, type Subscription } from '../../../src/event-store/subscription.ts';
import { findProductSales, productSalesSubscription } from '../../../src/orders/product-sales.ts';
import { stepContext } from '../../../src/domain/ids.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { lagOf } from '../../support/lag.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ worker: false, relay: false });
});
afterAll(async () => await service.stop());

async function confirmedOrder(quantity: number): Promise<string> {
  const orderId = await service.submit({ items: [{ productId: 'lamp', quantity, price: 100 }] });
  const order = await loadOrder(service.parts.repository, orderId, stepContext(metadata, orderId, 'confirm'));
  order.markAsConfirmed(newId());
  await service.parts.repository.save(order);
  return orderId;
}

const runnerOf = (subscription: Subscription) => createSubscription(service.parts, subscription);
/** Until nothing is left: what was committed shows only when older transactions, of any database here, have ended. */
async function catchUp(subscription: Subscription): Promise<number> {
  const runner = runnerOf(subscription);
  let applied = 0;
  await eventually(async () => {
    applied += await runner.runOnce();
    return (await lagOf(service.parts.db, subscription.name)) === 0 ? true : undefined;
  });
  return applied;
}
const sales = async () => await findProductSales(service.parts.db, 'default', 'lamp');

describe('the read model of sales', () => {
  it('counts what was confirmed, and counts it back when it is cancelled later', async () => {
    const orderId = await confirmedOrder(3);
    await service.submit();
    await catchUp(productSalesSubscription);
    expect(await sales()).toEqual([{ currency: 'EUR', quantity: 3, revenue: 300 }]);

    const order = await loadOrder(service.parts.repository, orderId, stepContext(metadata, orderId, 'cancel'));
    order.markAsCancelled('wrong colour', 'customer');
    await service.parts.repository.save(order);
    await catchUp(productSalesSubscription);
    expect(await sales()).toEqual([]);
  });

  it('comes out the same when it is built again from the whole log', async () => {
    await confirmedOrder(2);
    await confirmedOrder(5);
    await catchUp(productSalesSubscription);
    const before = await sales();
    await runnerOf(productSalesSubscription).rebuild();
    expect(await sales()).toEqual([]);
    await catchUp(productSalesSubscription);
    expect(await sales()).toEqual(before);
    expect(before).toEqual([{ currency: 'EUR', quantity: 7, revenue: 700 }]);
  });
});

describe('a subscription', () => {
  const seen: { position: string; replaying: boolean }[] = [];
  let failAt: string | undefined;
  const made = (name: string, startFrom: Subscription['startFrom']): Subscription => ({
    name,
    startFrom,
    async apply(event, { replaying }) {
      if (event.position === failAt) throw new Error('the projection is broken');
      seen.push({ position: event.position, replaying });
    },
    async reset() {},
  });
  afterEach(() => {
    seen.length = 0;
    failAt = undefined;
  });

  it('keeps neither effect nor checkpoint of a batch that fails, and goes on from there', async () => {
    const sums: Subscription = {
      ...made('test.sums', 'beginning'),
      async apply(event, { tx }) {
        await tx.insertInto('inbox').values({ handler_name: 'test.sums', event_id: event.eventId }).execute();
        if (event.position === failAt) throw new Error('the projection is broken');
      },
    };
    const written = async () =>
      (await service.parts.db.selectFrom('inbox').selectAll().where('handler_name', '=', 'test.sums').execute()).length;
    await catchUp(made('test.first', 'beginning'));
    const { events } = await service.parts.store.readLog({ limit: 1000 });
    failAt = events.at(-1)?.position;
    await expect(runnerOf(sums).runOnce()).rejects.toThrow('the projection is broken');
    expect(await written()).toBe(0);
    failAt = undefined;
    expect(await catchUp(sums)).toBe(events.length);
    expect(await written()).toBe(events.length);
  });

  it('that starts from the end sees only what comes after', async () => {
    const late = made('test.late', 'end');
    expect(await catchUp(late)).toBe(0);
    await service.submit();
    expect(await catchUp(late)).toBe(3);
    expect(await lagOf(service.parts.db, late.name)).toBe(0);
  });

  it('that starts from the beginning sees the whole log', async () => {
    await service.submit();
    await catchUp(made('test.whole', 'beginning'));
    const whole = await service.parts.store.readLog({ limit: 1000 });
    expect(seen.map(({ position }) => position)).toEqual(whole.events.map(({ position }) => position));
  });

  it('that starts from a place in the log sees what comes after it, and later goes on from its checkpoint', async () => {
    await service.submit();
    await catchUp(made('test.before', 'beginning'));
    const whole = seen.splice(0).map(({ position }) => position);
    const { end: place } = await service.parts.store.readLog({ limit: 2 });
    const placed = made('test.placed', place);
    await catchUp(placed);
    expect(seen.map(({ position }) => position)).toEqual(whole.slice(2));
    seen.length = 0;
    for (const startFrom of ['beginning', place] as const) expect(await catchUp({ ...placed, startFrom })).toBe(0);
    await service.submit();
    expect(await catchUp({ ...placed, startFrom: 'end' })).toBe(3);
  });

  it('knows old events from new ones in a rebuild, also when the rebuild is interrupted by another', async () => {
    const again = made('test.again', 'beginning');
    const old = await catchUp(again);
    seen.length = 0;
    await runnerOf(again).rebuild();
    await service.submit();
    await runnerOf(again).rebuild();
    await catchUp(again);
    expect(seen.filter(({ replaying }) => replaying)).toHaveLength(old);
    expect(seen.filter(({ replaying }) => !replaying)).toHaveLength(3);
  });

  it('is held by one process at a time: the others find nothing to do', async () => {
    const entered = Promise.withResolvers<void>();
    const leave = Promise.withResolvers<void>();
    const slow: Subscription = {
      ...made('test.slow', 'beginning'),
      async apply() {
        entered.resolve();
        await leave.promise;
      },
    };
    const holder = runnerOf(slow).runOnce();
    await entered.promise;
    expect(await runnerOf(slow).runOnce()).toBe(0);
    leave.resolve();
    expect(await holder).toBeGreaterThan(0);
  });
});
