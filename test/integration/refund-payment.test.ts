// Refunds of one payment, on the real Temporal server: parts that add up, never more than is held, and money that nobody
// wanted any more.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/domain/errors.ts';
import { newId } from '../../src/domain/ids.ts';
import { queueIsEmpty } from '../support/delivery-books.ts';
import { anotherPayment, confirmedOrder, requestRefund, unwantedRefundId, type PaidOrder } from '../support/refunds.ts';
import {
  callback,
  createHold,
  eventTypes,
  eventually,
  metadata,
  startSagaService,
  type SagaService,
} from '../support/saga-service.ts';

let service: SagaService;
/** What asking the gateway runs into, in the router. */
let unknown: (() => Promise<void>) | undefined;
beforeAll(async () => {
  service = await startSagaService({ beforeGet: async () => await unknown?.() });
});
beforeEach(async () => await service.stock(5));
afterEach(() => {
  unknown = undefined;
  delete service.faults.refund;
});
afterAll(async () => await service.stop());

const confirmed = async (): Promise<PaidOrder> => await confirmedOrder(service);
const request = async (order: PaidOrder, amount?: number, restock = false): Promise<string> =>
  await requestRefund(service, order, amount === undefined ? { restock } : { amount, restock });
const run = (workflowId: string) => service.parts.temporal.workflow.getHandle(workflowId);
const resultOf = async (workflowId: string): Promise<unknown> =>
  await eventually(async () =>
    (await run(workflowId)
      .describe()
      .catch(() => undefined)) === undefined
      ? undefined
      : true,
  ).then(async () => (await run(workflowId).result()) as unknown);
const paymentOf = async (paymentId: string) =>
  await service.parts.db
    .selectFrom('payments')
    .select(['status', 'refunded'])
    .where('payment_id', '=', paymentId)
    .executeTakeFirstOrThrow();
const refundsOf = async (paymentId: string): Promise<readonly unknown[]> =>
  (await service.parts.store.getEvents(paymentId))
    .filter(({ eventType }) => /refund/.test(eventType))
    .map(({ eventType, payload }) => [eventType, (payload as { amount: number }).amount]);

describe('a refund that was asked for', () => {
  it('of a part gives that back once; the order stays confirmed and its goods sold', async () => {
    const order = await confirmed();
    expect(await resultOf(await request(order, 1000))).toEqual({ status: 'refunded', amount: 1000 });
    expect(await paymentOf(order.paymentId)).toEqual({ status: 'charged', refunded: 1000 });
    expect(await service.ledger(order.orderId)).toEqual({ onHand: 3, reserved: 0, net: 2000, captures: 1, refunds: 1 });
    expect(await service.order(order.orderId)).toMatchObject({ status: 'confirmed' });
    expect(await refundsOf(order.paymentId)).toEqual([['payment.refunded', 1000]]);
  });

  it('in several parts ends with nothing held, and only then is the payment refunded', async () => {
    const order = await confirmed();
    const runs = [await request(order, 1000), await request(order, 500), await request(order)];
    await Promise.all(runs.map(resultOf));
    expect(await paymentOf(order.paymentId)).toEqual({ status: 'refunded', refunded: 3000 });
    expect(await service.ledger(order.orderId)).toMatchObject({ net: 0, captures: 1, refunds: 3 });
    expect(new Set((await refundsOf(order.paymentId)).map(String))).toEqual(
      new Set(['payment.refunded,1000', 'payment.refunded,500', 'payment.refunded,1500']),
    );
    expect(await service.order(order.orderId)).toMatchObject({ status: 'confirmed' });
  });

  it('with the goods puts all of them back, once, however many such refunds there are', async () => {
    const order = await confirmed();
    for (const amount of [100, 200]) await resultOf(await request(order, amount, true));
    expect(await service.ledger(order.orderId)).toEqual({ onHand: 5, reserved: 0, net: 2700, captures: 1, refunds: 2 });
  });

  it('that meets less than it was promised moves nothing, says why, and frees its promise', async () => {
    const order = await confirmed();
    const hold = createHold();
    service.faults.refund = hold.wait;
    const workflowId = await request(order, 2000, true);
    await hold.reached;
    await service.parts.gateway.refund(order.paymentId, { key: newId(), amount: 1500 });
    hold.release();
    await expect(resultOf(workflowId)).rejects.toMatchObject({ cause: { type: 'refund-exceeds-held' } });
    expect(await service.ledger(order.orderId)).toEqual({ onHand: 3, reserved: 0, net: 1500, captures: 1, refunds: 1 });
    expect(await refundsOf(order.paymentId)).toEqual([['payment.refund_failed', 2000]]);
    expect(await resultOf(await request(order))).toEqual({ status: 'refunded', amount: 1500 });
    expect(await paymentOf(order.paymentId)).toEqual({ status: 'refunded', refunded: 3000 });
  });

  it('whose answer is lost is repeated under its key and moves once', async () => {
    const order = await confirmed();
    let attempts = 0;
    service.faults.afterRefund = async () => {
      attempts += 1;
      if (attempts < 3) throw new UnavailableError('no answer', { outcomeUnknown: true });
    };
    expect(await resultOf(await request(order, 1000))).toEqual({ status: 'refunded', amount: 1000 });
    delete service.faults.afterRefund;
    expect(attempts).toBe(3);
    expect(await service.ledger(order.orderId)).toMatchObject({ net: 2000, refunds: 1 });
    expect(await refundsOf(order.paymentId)).toEqual([['payment.refunded', 1000]]);
  });

  it('before the order is cancelled: the cancellation gives back the rest and no more', async () => {
    const order = await confirmed();
    await resultOf(await request(order, 1000));
    await service.commands.cancel(order.orderId, 'wrong colour', 'customer', metadata);
    await eventually(async () => ((await service.order(order.orderId)).status === 'cancelled' ? true : undefined));
    expect(await service.ledger(order.orderId)).toEqual({ onHand: 5, reserved: 0, net: 0, captures: 1, refunds: 2 });
    expect(await refundsOf(order.paymentId)).toEqual([
      ['payment.refunded', 1000],
      ['payment.refunded', 2000],
    ]);
  });

  it('and that is under way while the order is cancelled: both end, and the money goes back once', async () => {
    const order = await confirmed();
    const hold = createHold();
    service.faults.refund = async () => {
      delete service.faults.refund;
      await hold.wait();
    };
    const workflowId = await request(order, 1000);
    await hold.reached;
    await service.commands.cancel(order.orderId, 'wrong colour', 'customer', metadata);
    await eventually(async () => ((await service.order(order.orderId)).status === 'cancelled' ? true : undefined));
    hold.release();
    await expect(resultOf(workflowId)).rejects.toMatchObject({ cause: { type: 'refund-exceeds-held' } });
    expect(await service.ledger(order.orderId)).toEqual({ onHand: 5, reserved: 0, net: 0, captures: 1, refunds: 1 });
    expect(await refundsOf(order.paymentId)).toEqual([
      ['payment.refunded', 3000],
      ['payment.refund_failed', 1000],
    ]);
  });
});

describe('money that comes after the end', () => {
  const another = async (orderId: string): Promise<string> => await anotherPayment(service, orderId);
  const startsOf = async (paymentId: string): Promise<number> =>
    (
      await service.parts.db
        .selectFrom('saga_starts')
        .select('workflow_id')
        .where('workflow_id', '=', unwantedRefundId(paymentId))
        .execute()
    ).length;

  it('of an order that failed goes back, once, however often and late it is told', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await service.ended(orderId);
    const paymentId = await another(orderId);
    const completed = { orderId, paymentId, outcome: 'completed' } as const;
    await Promise.all([callback(service, completed), callback(service, completed)]);
    expect(await resultOf(unwantedRefundId(paymentId))).toEqual({ status: 'refunded', amount: 3000 });
    await callback(service, completed);
    await queueIsEmpty(service.parts);
    expect(await service.ledger(orderId)).toEqual({ onHand: 5, reserved: 0, net: 0, captures: 1, refunds: 1 });
    expect(await paymentOf(paymentId)).toEqual({ status: 'refunded', refunded: 3000 });
    expect(await startsOf(paymentId)).toBe(1);
    expect((await service.order(orderId)).status).toBe('failed');
  });

  it('a second time, of a confirmed order, goes back, and what the order was confirmed with stays', async () => {
    const { orderId, paymentId: wanted } = await confirmed();
    const paymentId = await another(orderId);
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    await callback(service, { orderId, paymentId: wanted, outcome: 'completed' });
    await resultOf(unwantedRefundId(paymentId));
    await queueIsEmpty(service.parts);
    expect(await service.ledger(orderId)).toEqual({ onHand: 3, reserved: 0, net: 3000, captures: 2, refunds: 1 });
    expect(await paymentOf(wanted)).toEqual({ status: 'charged', refunded: 0 });
    expect(await startsOf(wanted)).toBe(0);
  });

  it('that the gateway does not hold starts nothing, and its delivery is done', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await service.ended(orderId);
    const [voided, failed] = [await another(orderId), await another(orderId)];
    await service.parts.gateway.cancel(voided);
    await callback(service, { orderId, paymentId: voided, outcome: 'completed' });
    await callback(service, { orderId, paymentId: failed, outcome: 'failed' });
    await queueIsEmpty(service.parts);
    expect([await startsOf(voided), await startsOf(failed)]).toEqual([0, 0]);
    expect(await service.ledger(orderId)).toMatchObject({ net: 0, captures: 0 });
  });

  it('waits while the gateway is away, and holds up no other order', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await service.ended(orderId);
    const paymentId = await another(orderId);
    const asked = Promise.withResolvers<void>();
    unknown = async () => {
      asked.resolve();
      throw new UnavailableError('nobody home');
    };
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    await asked.promise;
    expect((await service.ended(await service.submit())).status).toBe('confirmed');
    const delivery = service.parts.db
      .selectFrom('outbox')
      .select(['state', 'attempts', 'last_error'])
      .where('aggregate_id', '=', paymentId)
      .where('destination', '=', 'temporal');
    // While it is being tried, that attempt counts.
    await expect.poll(async () => await delivery.executeTakeFirst()).toMatchObject({ state: 'pending', attempts: 0 });
    unknown = undefined;
    expect(await resultOf(unwantedRefundId(paymentId))).toEqual({ status: 'refunded', amount: 3000 });
    expect(await eventTypes(service, paymentId)).toEqual(['payment.callback_received', 'payment.refunded']);
  });

  it('of an order that nobody submitted is no stuck delivery: its attempts say what is wrong', async () => {
    const paymentId = await another(newId());
    const { order_id: orderId } = await service.parts.db
      .selectFrom('payments')
      .select('order_id')
      .where('payment_id', '=', paymentId)
      .executeTakeFirstOrThrow();
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    const row = await eventually(async () =>
      service.parts.db
        .selectFrom('outbox')
        .select(['last_error', 'attempts'])
        .where('aggregate_id', '=', paymentId)
        .where('destination', '=', 'temporal')
        .where('last_error', 'is not', null)
        .executeTakeFirst(),
    );
    expect(row.last_error).toMatch(/never submitted/);
    expect(row.attempts).toBeGreaterThan(0);
  });
});
