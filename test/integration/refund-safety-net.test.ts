// The job behind order.cancelled with the sagas beside it: what it starts where money is held, and that a cancellation which
// went its way is refunded once.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { commandContext } from '../../src/domain/ids.ts';
import { orderSagaId, refundOrderId } from '../../src/domain/saga-contract.ts';
import { createRefundJob } from '../../src/handlers/refund-job.ts';
import { loadOrder } from '../../src/orders/order-repository.ts';
import { createSagaStarts } from '../../src/sagas/saga-starts.ts';
import { parksAtOnce, resolve, sagaView, submitAndCancelWhenCharged, untilParked } from '../support/parked.ts';
import { closed, reconcileNow, said } from '../support/reconcile.ts';
import { confirmedOrder, requestRefund } from '../support/refunds.ts';
import {
  eventTypes,
  eventually,
  metadata,
  startSagaService,
  untilPaymentIsPending,
  type SagaService,
} from '../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ environment: parksAtOnce });
  await service.stock(1_000);
});
afterAll(async () => await service.stop());

async function runJob(orderId: string): Promise<void> {
  const { db, store, unitOfWork, repository: orderRepository, gateway, logger } = service.parts;
  const deps = { db, store, unitOfWork, orderRepository, gateway, logger, starts: createSagaStarts(db) };
  await createRefundJob(deps)({ data: { orderId }, metadata });
}

/** By somebody who forgot the money and the goods. */
async function cancelByHand(orderId: string): Promise<void> {
  const order = await loadOrder(service.parts.repository, orderId, commandContext(metadata));
  order.markAsCancelled('by hand', 'operator');
  await service.parts.repository.save(order);
}

const count = async (orderId: string, eventType: string): Promise<number> =>
  (await eventTypes(service, orderId)).filter((type) => type === eventType).length;
const onHand = async (orderId: string): Promise<number> => (await service.ledger(orderId)).onHand;

describe('an order that was cancelled with its money held', () => {
  it('gets money and goods back once by a run of refundOrder, and no second end', async () => {
    const { orderId, paymentId } = await confirmedOrder(service);
    const sold = await onHand(orderId);
    await cancelByHand(orderId);
    await runJob(orderId);
    await eventually(async () => ((await service.ledger(orderId)).net === 0 ? true : undefined));
    await closed(service, refundOrderId(orderId));
    await runJob(orderId);
    expect(await service.ledger(orderId)).toEqual({ onHand: sold + 2, reserved: 0, net: 0, captures: 1, refunds: 1 });
    expect((await eventTypes(service, orderId)).slice(-2)).toEqual(['order.cancelled', 'order.refund_due']);
    expect(await eventTypes(service, paymentId)).toEqual(['payment.completed', 'payment.refunded']);
    expect(await sagaView(service, orderId)).toMatchObject({ status: 'Cancelled', refund: { status: 'Cancelled' } });
    expect((await reconcileNow(service, { repair: false })).findings).toEqual([]);
  });

  it('shows a refund that is parked, and an operator brings it on', async () => {
    const { orderId } = await confirmedOrder(service);
    service.faults.refund = async () => {
      throw new Error('the bank is closed');
    };
    await cancelByHand(orderId);
    await runJob(orderId);
    await untilParked(service, refundOrderId(orderId), 'refund');
    expect((await sagaView(service, orderId)).refund).toMatchObject({ status: 'NeedsAttention' });
    delete service.faults.refund;
    await resolve(service, orderId, { step: 'refund', action: 'retry' });
    await closed(service, refundOrderId(orderId));
    expect(await service.ledger(orderId)).toMatchObject({ reserved: 0, net: 0, refunds: 1 });
  });

  it('keeps what an operator left, also where it came at the gateway while its payment was being undone', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    const paymentId = await untilPaymentIsPending(service, orderId);
    service.faults.refund = async () => {
      throw new Error('the bank is closed');
    };
    const { gateway, db } = service.parts;
    const { amount, currency } = (await gateway.get(paymentId)) ?? { amount: 0, currency: '' };
    // Its callback is not here yet.
    await db.transaction().execute(async (tx) => {
      await gateway.acceptCallback(tx, {
        orderId,
        paymentId,
        outcome: 'completed',
        amount,
        currency,
        reason: undefined,
      });
    });
    await service.commands.cancel(orderId, 'too dear', 'customer', metadata);
    await untilParked(service, orderSagaId(orderId), 'charge');
    await resolve(service, orderId, { step: 'charge', action: 'skip', reference: 'ticket 7' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    delete service.faults.refund;
    await runJob(orderId);
    expect(await count(orderId, 'order.refund_due')).toBe(0);
    expect(await service.ledger(orderId)).toMatchObject({ net: amount, refunds: 0 });
  });

  it('whose refund was started before, and cannot be again, is told of and mended by reconcile', async () => {
    const { orderId } = await confirmedOrder(service);
    await createSagaStarts(service.parts.db).begin(refundOrderId(orderId), orderId, orderId);
    await cancelByHand(orderId);
    await runJob(orderId);
    expect(await count(orderId, 'order.refund_due')).toBe(0);
    expect(said(await reconcileNow(service, { repair: false }), 'order')).toContain(`charge-held ${orderId} found`);
    await reconcileNow(service, { repair: true });
    expect(await service.ledger(orderId)).toMatchObject({ net: 0, refunds: 1 });
  });
});

describe('a cancellation that goes its way leaves the job nothing to do', () => {
  async function expectNothingDue(orderId: string, refunds: number): Promise<void> {
    const before = await service.ledger(orderId);
    expect(before).toMatchObject({ reserved: 0, net: 0, refunds });
    await runJob(orderId);
    expect(await count(orderId, 'order.refund_due')).toBe(0);
    expect(await count(orderId, 'order.cancelled')).toBe(1);
    expect(await service.ledger(orderId)).toEqual(before);
  }

  it('of a draft', async () => {
    const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];
    const input = { customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok', items };
    const { orderId } = (await service.commands.create(input, metadata)).state;
    await service.commands.cancel(orderId, 'too dear', 'customer', metadata);
    await expectNothingDue(orderId, 0);
  });

  it('of an order that was charged and not confirmed', async () => {
    const orderId = await submitAndCancelWhenCharged(service);
    await service.ended(orderId);
    await expectNothingDue(orderId, 1);
  });

  it('of a confirmed order, also where a part went back before', async () => {
    const whole = await confirmedOrder(service);
    const part = await confirmedOrder(service);
    await closed(service, await requestRefund(service, part, { amount: 1000 }));
    for (const [{ orderId }, refunds] of [
      [whole, 1],
      [part, 2],
    ] as const) {
      await service.commands.cancel(orderId, 'too dear', 'customer', metadata);
      await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
      await expectNothingDue(orderId, refunds);
    }
  });
});
