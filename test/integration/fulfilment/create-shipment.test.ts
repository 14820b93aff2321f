// The job that ships: once, and only what is still to be shipped. Judged by the shipments' rows.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { commandContext, newId } from '../../../src/domain/ids.ts';
import { createShipmentBook } from '../../../src/fulfilment/shipment-book.ts';
import { createShipmentJob } from '../../../src/handlers/create-shipment-job.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { refundEventId } from '../../../src/payments/available-for-refund.ts';
import { createLogBook } from '../../support/event-log.ts';
import { metadata, startShop, type Shop } from '../../support/shop.ts';

const items = [
  { productId: 'lamp', quantity: 2, price: 1500 },
  { productId: 'shade', quantity: 1, price: 200 },
];

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());

const paymentIdOf = new Map<string, string>();

async function confirmed(): Promise<string> {
  const input = { customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok', items };
  const { orderId } = (await shop.commands.create(input, metadata)).state;
  await shop.commands.submit(orderId, metadata);
  const order = await loadOrder(shop.repository, orderId, commandContext(metadata));
  const paymentId = newId();
  paymentIdOf.set(orderId, paymentId);
  order.markAsConfirmed(paymentId);
  await shop.repository.save(order);
  return orderId;
}

async function run(orderId: string, tenantId = metadata.tenantId): Promise<void> {
  const { store, repository: orderRepository } = shop;
  const fulfilmentService = createShipmentBook(shop.db);
  const job = createShipmentJob({ store, orderRepository, fulfilmentService, logger: createLogBook().logger });
  await job({ data: { orderId }, metadata: { ...metadata, tenantId } });
}

const shipmentsOf = async (orderId: string) =>
  await shop.db
    .selectFrom('shipments')
    .select(['tenant_id as tenantId', 'items'])
    .where('order_id', '=', orderId)
    .execute();

/** @returns its refund's id */
async function refunded(orderId: string, restock: boolean): Promise<string> {
  const refundId = newId();
  const asked = { refundId, restock, reason: 'broken', requestedBy: 'customer', amount: 100 };
  await shop.commands.requestRefund(orderId, asked, async () => await Promise.resolve(100), metadata);
  return refundId;
}

/** As the refund's own run tells it. */
async function answer(
  orderId: string,
  refundId: string,
  eventType: 'payment.refunded' | 'payment.refund_failed',
): Promise<void> {
  const paymentId = paymentIdOf.get(orderId) ?? '';
  const common = { occurredAt: new Date(), aggregateId: paymentId, aggregateType: 'payment', metadata };
  const payload = { paymentId, orderId, amount: 100, reason: 'no' };
  await shop.store.append(
    eventType === 'payment.refunded'
      ? { ...common, eventType, eventId: refundEventId(paymentId, refundId), payload }
      : { ...common, eventType, eventId: newId(), payload: { ...payload, refundId } },
  );
}

describe('a confirmed order', () => {
  it('is shipped once with its items, however often the job is run, also at the same time', async () => {
    const orderId = await confirmed();
    await Promise.all(Array.from({ length: 5 }, async () => await run(orderId)));
    await run(orderId);
    expect(await shipmentsOf(orderId)).toEqual([
      {
        tenantId: 'default',
        items: [
          { productId: 'lamp', quantity: 2 },
          { productId: 'shade', quantity: 1 },
        ],
      },
    ]);
  });

  it('is shipped although a part of its money goes back, where the goods do not', async () => {
    const orderId = await confirmed();
    await refunded(orderId, false);
    await run(orderId);
    expect(await shipmentsOf(orderId)).toHaveLength(1);
  });

  it('is shipped where its goods were asked back and the gateway has refused that', async () => {
    const orderId = await confirmed();
    await answer(orderId, await refunded(orderId, true), 'payment.refund_failed');
    await run(orderId);
    expect(await shipmentsOf(orderId)).toHaveLength(1);
  });

  it('is not another tenant’s to ship', async () => {
    const orderId = await confirmed();
    await expect(run(orderId, 'acme')).rejects.toThrow(/there is no order/);
    expect(await shipmentsOf(orderId)).toEqual([]);
  });

  it('that has a shipment under another key gets no second one, and that is an error', async () => {
    const orderId = await confirmed();
    await run(orderId);
    const again = { tenantId: 'default', orderId, items: [], idempotencyKey: 'another' };
    await expect(createShipmentBook(shop.db).createShipment(again)).rejects.toThrow(/made under another key/);
    expect(await shipmentsOf(orderId)).toHaveLength(1);
  });
});

describe('no shipment is made of an order', () => {
  it('whose cancellation was asked for', async () => {
    const orderId = await confirmed();
    await shop.commands.cancel(orderId, 'too dear', 'customer', metadata);
    await run(orderId);
    expect(await shipmentsOf(orderId)).toEqual([]);
  });

  it('that is cancelled', async () => {
    const orderId = await confirmed();
    const order = await loadOrder(shop.repository, orderId, commandContext(metadata));
    order.markAsCancelled('too dear', 'customer');
    await shop.repository.save(order);
    await run(orderId);
    expect(await shipmentsOf(orderId)).toEqual([]);
  });

  it('whose goods go back to the stock; while that has no answer the job waits for it', async () => {
    const orderId = await confirmed();
    const refundId = await refunded(orderId, true);
    await expect(run(orderId)).rejects.toThrow(UnavailableError);
    await answer(orderId, refundId, 'payment.refunded');
    await run(orderId);
    expect(await shipmentsOf(orderId)).toEqual([]);
  });
});
