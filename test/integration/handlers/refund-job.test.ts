// The safety net behind a cancelled order, without Temporal: when a refund is due, and when it is none of its business.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventPayload } from '../../../src/domain/catalogue.ts';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { commandContext, newId, sagaStreamId } from '../../../src/domain/ids.ts';
import { orderSagaId, refundOrderId, refundPaymentId } from '../../../src/domain/saga-contract.ts';
import { createRefundJob, type RefundJobDeps } from '../../../src/handlers/refund-job.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { createSagaStarts } from '../../../src/sagas/saga-starts.ts';
import { createLogBook, type LogBook } from '../../support/event-log.ts';
import { metadata, startShop, type Shop } from '../../support/shop.ts';

let shop: Shop;
let log: LogBook;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());
beforeEach(() => {
  log = createLogBook();
});

const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];
type Paid = Readonly<{ orderId: string; paymentId: string }>;

async function paid(method = 'pm_ok'): Promise<Paid> {
  const input = { customerId: 'c-1', currency: 'EUR', paymentMethod: method, items };
  const { orderId } = (await shop.commands.create(input, metadata)).state;
  await shop.commands.submit(orderId, metadata);
  const request = { key: newId(), tenantId: 'default', orderId, amount: 3000, currency: 'EUR', method };
  const { paymentId } = await shop.gateway.prepare(request);
  await shop.gateway.capture(paymentId);
  return { orderId, paymentId };
}

/** By somebody who did not give the money back first. */
async function cancel({ orderId }: Paid): Promise<void> {
  const order = await loadOrder(shop.repository, orderId, commandContext(metadata));
  order.markAsCancelled('too dear', 'customer');
  await shop.repository.save(order);
}

async function cancelledWithMoney(): Promise<Paid> {
  const of = await paid();
  await cancel(of);
  return of;
}

const run = async ({ orderId }: Paid, over: Partial<RefundJobDeps> = {}): Promise<void> => {
  const { db, store, unitOfWork, repository: orderRepository, gateway } = shop;
  const deps = { db, store, unitOfWork, orderRepository, gateway, starts: createSagaStarts(db), logger: log.logger };
  await createRefundJob({ ...deps, ...over })({ data: { orderId }, metadata: { ...metadata, causationId: 'cause' } });
};

const dueIn = async ({ orderId }: Paid) =>
  (await shop.store.getEvents(orderId)).filter(({ eventType }) => eventType === 'order.refund_due');

async function said({ orderId, paymentId }: Paid, saga: 'order' | 'refund', action: 'retry' | 'skip' | 'settled') {
  const completed: EventPayload<'payment.completed'> = {
    paymentId,
    orderId,
    amount: 3000,
    currency: 'EUR',
    method: 'pm_ok',
  };
  const common = () => ({ eventId: newId(), occurredAt: new Date(), metadata });
  await shop.store.append({
    ...common(),
    eventType: 'payment.completed',
    aggregateId: paymentId,
    aggregateType: 'payment',
    payload: completed,
  });
  const workflowId = saga === 'order' ? orderSagaId(orderId) : refundOrderId(orderId);
  const step = saga === 'order' ? 'charge' : 'refund';
  await shop.store.append({
    ...common(),
    eventType: 'saga.resolution_applied',
    aggregateId: sagaStreamId(workflowId),
    aggregateType: 'saga',
    payload: { orderId, workflowId, step, action, reference: 'ticket 1', resolvedBy: 'ada' },
  });
}

const startedAs = async ({ orderId }: Paid, workflowId: string): Promise<void> =>
  void (await createSagaStarts(shop.db).begin(workflowId, orderId, newId()));

describe('money that is held for a cancelled order', () => {
  it('makes its refund due once, however often the job is run, also at the same time', async () => {
    const of = await cancelledWithMoney();
    // Two that meet may refuse one another; such a job is run again.
    await Promise.allSettled(Array.from({ length: 5 }, async () => await run(of)));
    await run(of);
    const due = await dueIn(of);
    expect(due).toMatchObject([
      {
        payload: { orderId: of.orderId, reason: 'too dear', cancelledBy: 'customer' },
        metadata: { ...metadata, causationId: 'cause' },
      },
    ]);
    const rows = await shop.db
      .selectFrom('outbox')
      .select('destination')
      .where('id', '=', due[0]?.eventId ?? '')
      .orderBy('destination')
      .execute();
    expect(rows.map(({ destination }) => destination)).toEqual(['bus', 'temporal']);
    expect(await shop.queries.findOrder('default', of.orderId)).toMatchObject({ status: 'cancelled', version: 5 });
  });

  it('is looked for again while the gateway is away', async () => {
    const of = await cancelledWithMoney();
    const away = async (): Promise<never> => {
      throw new UnavailableError('nobody home');
    };
    await expect(run(of, { gateway: { ...shop.gateway, get: away } })).rejects.toThrow(UnavailableError);
    expect(await dueIn(of)).toEqual([]);
    await run(of);
    expect(await dueIn(of)).toHaveLength(1);
  });

  it.each([
    ['order', 'skip'],
    ['order', 'settled'],
    ['refund', 'skip'],
    ['refund', 'settled'],
  ] as const)('stays where an operator has left it: the %s’s saga, %s', async (saga, action) => {
    const of = await cancelledWithMoney();
    await said(of, saga, action);
    await run(of);
    expect(await dueIn(of)).toEqual([]);
  });

  it('does not stay for an operator who only said to try again', async () => {
    const of = await cancelledWithMoney();
    await said(of, 'refund', 'retry');
    await run(of);
    expect(await dueIn(of)).toHaveLength(1);
  });

  it('is left to a refund of late money that was started', async () => {
    const of = await cancelledWithMoney();
    await startedAs(of, refundPaymentId(of.paymentId, 'unwanted'));
    await run(of);
    expect(await dueIn(of)).toEqual([]);
    expect(log.warnings).toEqual([]);
  });

  it('is told of, and no more, where the refund of the order was started before: that happens once', async () => {
    const of = await cancelledWithMoney();
    await startedAs(of, refundOrderId(of.orderId));
    await run(of);
    expect(await dueIn(of)).toEqual([]);
    expect(log.warnings.join()).toMatch(/money is held for a cancelled order whose refund was started before/);
  });
});

describe('no refund is due', () => {
  it('where the money went back, or never came', async () => {
    const refunded = await paid();
    await shop.gateway.refund(refunded.paymentId, { key: newId(), amount: 'all-held' });
    const voided = await paid('pm_pending');
    await shop.gateway.cancel(voided.paymentId);
    for (const of of [refunded, voided, await paid('pm_declined')]) {
      await cancel(of);
      await run(of);
      expect(await dueIn(of)).toEqual([]);
    }
    expect(log.warnings).toEqual([]);
  });

  it('of an order that is not cancelled: that is an error', async () => {
    const of = await paid();
    await expect(run(of)).rejects.toThrow('the order is submitted, not cancelled');
    expect(await dueIn(of)).toEqual([]);
  });
});
