// Orders on their way into the database: no update is lost (G7), and the row says what the stream says.
import fc from 'fast-check';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConflictError, DomainError } from '../../../src/domain/errors.ts';
import { commandContext, newId } from '../../../src/domain/ids.ts';
import { Money } from '../../../src/domain/money.ts';
import { totalOf } from '../../../src/domain/order-state.ts';
import { EventSourcedOrder } from '../../../src/domain/order.ts';
import { commandEventId, type NewOrder } from '../../../src/orders/order-commands.ts';
import { metadata, startShop, tenantId, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());

const lamp = { productId: 'lamp', quantity: 2, price: 1500 };
const input: NewOrder = { customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok', items: [lamp] };
const create = async (change: Partial<NewOrder> = {}): Promise<string> =>
  (await shop.commands.create({ ...input, ...change }, metadata)).state.orderId;
const eventTypes = async (orderId: string): Promise<readonly string[]> =>
  (await shop.store.getEvents(orderId)).map((event) => event.eventType);

async function load(orderId: string): Promise<EventSourcedOrder> {
  const order = await shop.repository.findById(orderId, commandContext(metadata));
  if (order === undefined) throw new Error(`there is no order ${orderId}`);
  return order;
}

/** The orders row and its lines against the fold of the stream. */
async function expectProjection(orderId: string): Promise<void> {
  const { state, version } = await load(orderId);
  const view = await shop.queries.findOrder(tenantId, orderId);
  expect(view).toMatchObject({
    orderId,
    customerId: state.customerId,
    status: state.status,
    currency: state.currency,
    total: totalOf(state.items),
    paymentMethod: state.paymentMethod,
    cancellationRequested: state.cancellation !== undefined,
    version,
  });
  expect(view?.items).toEqual(state.items);
  expect(view?.failureReason).toBe(state.failureReason);
  expect(view?.paymentId).toBe(state.paymentId);
}

async function refusalOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DomainError);
  return (error as DomainError).code;
}

describe('a command', () => {
  it('creates an order with its items: stream, row and lines, in one transaction', async () => {
    const orderId = await create({ items: [lamp, { productId: 'shade', quantity: 1, price: 200 }, lamp] });
    expect(await eventTypes(orderId)).toEqual([
      'order.created',
      'order.item_added',
      'order.item_added',
      'order.item_added',
    ]);
    expect(await shop.queries.findOrder(tenantId, orderId)).toMatchObject({
      status: 'draft',
      total: 6200,
      items: [
        { productId: 'lamp', quantity: 4, price: 1500 },
        { productId: 'shade', quantity: 1, price: 200 },
      ],
    });
    await expectProjection(orderId);
  });

  it('that is refused leaves nothing', async () => {
    const orderId = newId();
    const items = [lamp, { ...lamp, price: 1 }];
    expect(await refusalOf(shop.commands.create({ ...input, orderId, items }, metadata))).toBe('price-mismatch');
    expect(await eventTypes(orderId)).toEqual([]);
    expect(await shop.queries.findOrder(tenantId, orderId)).toBeUndefined();
    const made = await create();
    expect(await refusalOf(shop.commands.removeItem(made, 'shade', metadata))).toBe('item-not-found');
    expect(await eventTypes(made)).toHaveLength(2);
    await expectProjection(made);
  });

  it('for an order that is not there, or is another tenant’s, is refused', async () => {
    expect(await refusalOf(shop.commands.submit(newId(), metadata))).toBe('order-not-found');
    const orderId = await create();
    expect(await refusalOf(shop.commands.submit(orderId, { tenantId: 'acme' }))).toBe('order-not-found');
    expect(await shop.queries.findOrder('acme', orderId)).toBeUndefined();
  });

  it('for a stream that is no order is refused', async () => {
    const reservationId = newId();
    await shop.store.append({
      eventId: newId(),
      eventType: 'inventory.reserved',
      occurredAt: new Date(),
      aggregateId: reservationId,
      aggregateType: 'reservation',
      payload: { orderId: newId(), items: [] },
      metadata,
    });
    expect(await refusalOf(shop.commands.submit(reservationId, metadata))).toBe('order-not-found');
  });

  it('goes through the order’s whole life, and the row says the same as the stream at each step', async () => {
    const orderId = await create({ items: [] });
    await expectProjection(orderId);
    await shop.commands.addItem(orderId, lamp, metadata);
    await expectProjection(orderId);
    await shop.commands.addItem(orderId, { productId: 'shade', quantity: 1, price: 200 }, metadata);
    await shop.commands.removeItem(orderId, 'lamp', metadata);
    await expectProjection(orderId);
    await shop.commands.submit(orderId, metadata);
    await expectProjection(orderId);
    await shop.commands.cancel(orderId, 'too dear', 'customer', metadata);
    await expectProjection(orderId);
    const order = await load(orderId);
    order.markAsCancelled('too dear', 'customer');
    await shop.repository.save(order);
    await expectProjection(orderId);
    expect(await eventTypes(orderId)).toHaveLength(7);
  });
});

describe('two who change one order at the same time', () => {
  it('both have their way: neither overwrites the other', async () => {
    const orderId = await create({ items: [] });
    const products = Array.from({ length: 5 }, (_, n) => `p-${n}`);
    await Promise.all(
      products.map(async (productId) => {
        await shop.commands.addItem(orderId, { productId, quantity: 1, price: 100 }, metadata);
      }),
    );
    const order = await load(orderId);
    expect(order.state.items.map((item) => item.productId).toSorted()).toEqual(products);
    expect(order.total.getAmount()).toBe(500);
    await expectProjection(orderId);
  });

  it('cannot save what they decided on the same version: the second gets the conflict', async () => {
    const orderId = await create();
    const [one, two] = [await load(orderId), await load(orderId)];
    one.addItem('shade', 1, Money.of(1, 'EUR'));
    two.addItem('shade', 1, Money.of(2, 'EUR'));
    await shop.repository.save(one);
    const error: unknown = await shop.repository.save(two).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(ConflictError);
    expect(error).toMatchObject({ actualVersion: 3 });
    expect(two.getUncommittedEvents()).toHaveLength(1);
    await expectProjection(orderId);
  });

  it('decide again on what they find: of two submissions one is refused', async () => {
    const orderId = await create();
    const results = await Promise.allSettled(
      Array.from({ length: 4 }, async () => await shop.commands.submit(orderId, metadata)),
    );
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(1);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'order-not-draft' });
    }
    expect(await eventTypes(orderId)).toEqual(['order.created', 'order.item_added', 'order.submitted']);
  });

  it('as canceller and saga never both win', async () => {
    for (let n = 0; n < 5; n += 1) {
      const orderId = await create();
      await shop.commands.submit(orderId, metadata);
      const confirm = async (): Promise<void> => {
        const order = await load(orderId);
        order.markAsConfirmed(newId());
        await shop.repository.save(order);
      };
      await Promise.allSettled([confirm(), shop.commands.cancel(orderId, 'r', 'customer', metadata)]);
      const types = await eventTypes(orderId);
      const [confirmed, requested] = [types.indexOf('order.confirmed'), types.indexOf('order.cancellation_requested')];
      expect(requested).toBeGreaterThan(-1);
      if (confirmed > -1) expect(confirmed).toBeLessThan(requested);
      await expectProjection(orderId);
    }
  });
});

describe('a command that is repeated', () => {
  it('with the order’s id finds the order that it has made', async () => {
    const orderId = newId();
    await create({ orderId });
    expect(await create({ orderId })).toBe(orderId);
    expect(await eventTypes(orderId)).toHaveLength(2);
  });

  it('with an id that is another order’s is a conflict', async () => {
    const orderId = await create();
    await expect(create({ orderId, customerId: 'c-2' })).rejects.toThrow(ConflictError);
  });

  it('carries the key of its command as the id of its event', async () => {
    const orderId = await create();
    await shop.commands.submit(orderId, metadata, 'key-1');
    const submitted = (await shop.store.getEvents(orderId)).at(-1);
    expect(submitted?.eventId).toBe(commandEventId('key-1'));
  });
});

describe('saving', () => {
  it('all of a life at once writes row and lines as well as step by step', async () => {
    const orderId = newId();
    const order = EventSourcedOrder.create(
      { orderId, customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok' },
      commandContext(metadata),
    );
    order.addItem('lamp', 2, Money.of(1500, 'EUR'));
    order.submit();
    order.markAsConfirmed(newId());
    await shop.repository.save(order);
    expect(order.version).toBe(4);
    expect(order.getUncommittedEvents()).toEqual([]);
    await expectProjection(orderId);
  });

  it('nothing new writes nothing', async () => {
    const orderId = await create();
    await shop.repository.save(await load(orderId));
    expect(await eventTypes(orderId)).toHaveLength(2);
  });

  it('within a unit of work waits for its commit, and keeps the events until then', async () => {
    const orderId = await create();
    const order = await load(orderId);
    order.submit();
    const failing = shop.unitOfWork(async (unit) => {
      await shop.repository.save(order, unit);
      expect((await shop.repository.findById(orderId, commandContext(metadata), unit))?.state.status).toBe('submitted');
      throw new Error('at the last moment');
    });
    await expect(failing).rejects.toThrow('at the last moment');
    expect(await eventTypes(orderId)).toHaveLength(2);
    await expectProjection(orderId);
    expect(order.getUncommittedEvents()).toHaveLength(1);
    await shop.unitOfWork(async (unit) => await shop.repository.save(order, unit));
    await expectProjection(orderId);
    expect((await load(orderId)).state.status).toBe('submitted');
  });

  it('keeps the payment and its time that the handler has set before the confirmation came', async () => {
    const orderId = await create();
    await shop.commands.submit(orderId, metadata);
    const paymentId = newId();
    await sql`update orders set payment_id = ${paymentId}, paid_at = now() where order_id = ${orderId}`.execute(
      shop.db,
    );
    const order = await load(orderId);
    order.markAsConfirmed(paymentId);
    await shop.repository.save(order);
    const view = await shop.queries.findOrder(tenantId, orderId);
    expect(view).toMatchObject({ status: 'confirmed', paymentId, paidAt: expect.any(String) as string });
  });

  it('whatever is done in whatever order and portions, the row is the fold of the stream', async () => {
    const product = fc.constantFrom('a', 'b', 'c');
    const command = fc.oneof(
      fc.record({ kind: fc.constant('add'), product, quantity: fc.integer({ min: 1, max: 9 }) }),
      fc.record({ kind: fc.constant('remove'), product, quantity: fc.constant(0) }),
      fc.record({
        kind: fc.constantFrom('submit', 'request', 'confirm', 'fail', 'cancel', 'save', 'save'),
        product,
        quantity: fc.constant(0),
      }),
    );
    const paymentId = newId();
    const run = async (order: EventSourcedOrder, one: { kind: string; product: string; quantity: number }) => {
      if (one.kind === 'add') order.addItem(one.product, one.quantity, Money.of(100, 'EUR'));
      if (one.kind === 'remove') order.removeItem(one.product);
      if (one.kind === 'submit') order.submit();
      if (one.kind === 'request') order.requestCancellation('r', 'customer');
      if (one.kind === 'confirm') order.markAsConfirmed(paymentId);
      if (one.kind === 'fail') order.markAsFailed('r');
      if (one.kind === 'cancel') order.markAsCancelled('r', 'saga');
      if (one.kind === 'save') await shop.repository.save(order);
    };
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 12 }), async (commands) => {
        const orderId = newId();
        const first = { orderId, customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok' };
        const order = EventSourcedOrder.create(first, commandContext(metadata));
        for (const one of commands) {
          try {
            await run(order, one);
          } catch (error) {
            if (!(error instanceof DomainError)) throw error;
          }
        }
        await shop.repository.save(order);
        await expectProjection(orderId);
      }),
      { numRuns: 40 },
    );
  });
});

describe('the list of orders', () => {
  it('shows a tenant’s orders, newest first, page by page and by status', async () => {
    const acme = { tenantId: 'acme' };
    const made: string[] = [];
    for (let n = 0; n < 5; n += 1) made.push((await shop.commands.create(input, acme)).state.orderId);
    const newestFirst = made.toReversed();
    await shop.commands.submit(made[1] ?? '', acme);
    const ids = async (filter: { status?: 'draft' | 'submitted'; limit: number; before?: string }) =>
      (await shop.queries.listOrders('acme', filter)).map((order) => order.orderId);
    expect(await ids({ limit: 10 })).toEqual(newestFirst);
    expect(await ids({ limit: 2 })).toEqual(newestFirst.slice(0, 2));
    expect(await ids({ limit: 2, before: newestFirst[1] ?? '' })).toEqual(newestFirst.slice(2, 4));
    expect(await ids({ limit: 10, status: 'submitted' })).toEqual([made[1]]);
    expect(await shop.queries.listOrders('nobody', { limit: 10 })).toEqual([]);
  });
});
