// Refunds in part, money that nobody wanted, and verifications: what reconcile finds of runs that are gone, and what is
// in order.
import { activityInfo } from '@temporalio/activity';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { verifyAddressId } from '../../../src/domain/user-verification.ts';
import { holdDestination } from '../../../src/outbox/outbox-admin.ts';
import { booksOf } from '../../support/books.ts';
import { queueIsEmpty } from '../../support/delivery-books.ts';
import { closed, reconcileNow, said, startBusyService, terminate, type Reconciled } from '../../support/reconcile.ts';
import {
  anotherPayment,
  confirmedOrder,
  requestRefund,
  unwantedRefundId,
  type PaidOrder,
} from '../../support/refunds.ts';
import {
  callback,
  createHold,
  eventTypes,
  eventually,
  metadata,
  untilPending,
  type SagaService,
} from '../../support/saga-service.ts';
import { createUser, verifyEmail } from '../../support/users.ts';

let service: SagaService;
beforeAll(async () => {
  const quickly = { VERIFICATION_REMINDER_SECONDS: '1', VERIFICATION_EXPIRY_SECONDS: '3600' };
  service = await startBusyService({ environment: quickly });
  await service.stock(1000);
});
afterAll(async () => await service.stop());

const repair = async (): Promise<Reconciled> => await reconcileNow(service, { repair: true });
const report = async (): Promise<Reconciled> => await reconcileNow(service, { repair: false });
afterEach(async () => {
  for (const name of ['unitOfWork', 'committed', 'refund', 'afterRefund'] as const) delete service.faults[name];
  expect((await report()).findings).toEqual([]);
});

async function confirmed(): Promise<PaidOrder> {
  const order = await confirmedOrder(service);
  await closed(service, orderSagaId(order.orderId));
  return order;
}
const run = (workflowId: string) => service.parts.temporal.workflow.getHandle(workflowId);
let held = 0;
const stuck = async (): Promise<never> => {
  held += 1;
  return await Promise.reject(new Error('the test holds this step'));
};
/** An attempt has come to the fault: one that is only under way might pass it once it is taken away. */
async function untilStuck(workflowId: string, activity: string, before: number): Promise<void> {
  await eventually(async () => await Promise.resolve(held > before ? true : undefined));
  await untilPending(service, workflowId, activity);
}
const refundsOf = async (paymentId: string): Promise<readonly unknown[]> =>
  (await service.parts.store.getEvents(paymentId))
    .filter(({ eventType }) => /refund/.test(eventType))
    .map(({ eventType, payload }) => [eventType, (payload as { amount: number }).amount]);
const startOf = async (workflowId: string) =>
  await service.parts.db
    .selectFrom('saga_starts')
    .select(['repairs', 'state'])
    .where('workflow_id', '=', workflowId)
    .executeTakeFirst();

/** As if the relay had delivered it and Temporal had lost it. */
async function deliveredInVain(eventType: string, act: () => Promise<string>): Promise<string> {
  const { db } = service.parts;
  await holdDestination(db, 'temporal', true);
  const result = await act();
  await db
    .updateTable('outbox')
    .set({ state: 'done', published_at: new Date() })
    .where('event_type', '=', eventType)
    .where('state', '=', 'pending')
    .execute();
  await holdDestination(db, 'temporal', false);
  return result;
}

describe('a refund that was asked for, whose run is gone', () => {
  it.each(['refund', 'afterRefund'] as const)(
    'held at %s: another run gives the part back once and says so once',
    async (place) => {
      const order = await confirmed();
      const before = held;
      service.faults[place] = stuck;
      const workflowId = await requestRefund(service, order, { amount: 1000 });
      await untilStuck(workflowId, 'refundPaymentPart', before);
      expect((await report()).findings).toEqual([]);
      await terminate(service, workflowId);
      delete service.faults[place];
      expect(said(await report(), 'workflow')).toEqual([`refund-gone ${workflowId} found`]);
      expect(said(await repair(), 'workflow')).toEqual([`refund-gone ${workflowId} mended`]);
      expect(await run(workflowId).result()).toEqual({ status: 'refunded', amount: 1000 });
      expect(await service.ledger(order.orderId)).toMatchObject({ net: 2000, captures: 1, refunds: 1 });
      expect(await refundsOf(order.paymentId)).toEqual([['payment.refunded', 1000]]);
      expect(await startOf(workflowId)).toEqual({ repairs: 1, state: 'started' });
    },
  );

  it('or was never there, although its event was delivered: it is started', async () => {
    const order = await confirmed();
    await queueIsEmpty(service.parts);
    const workflowId = await deliveredInVain(
      'order.refund_requested',
      async () => await requestRefund(service, order, { amount: 500 }),
    );
    expect(said(await repair(), 'workflow')).toEqual([`refund-gone ${workflowId} mended`]);
    expect(await run(workflowId).result()).toEqual({ status: 'refunded', amount: 500 });
    expect(await refundsOf(order.paymentId)).toEqual([['payment.refunded', 500]]);
  });

  it('between the money and the goods: another run puts the goods back', async () => {
    const order = await confirmed();
    const before = held;
    service.faults.unitOfWork = async () => {
      if (activityInfo().activityType === 'restockOrder') await stuck();
    };
    const workflowId = await requestRefund(service, order, { amount: 1000, restock: true });
    await untilStuck(workflowId, 'restockOrder', before);
    await terminate(service, workflowId);
    delete service.faults.unitOfWork;
    const found = await repair();
    expect(said(found, 'workflow')).toEqual([`refund-gone ${workflowId} mended`]);
    expect(found.findings[0]?.is).toContain('its goods are not back');
    await run(workflowId).result();
    expect(await booksOf(service.parts, order.orderId)).toMatchObject({
      reservation: 'released',
      refunds: 1,
      net: 2000,
    });
    expect(await refundsOf(order.paymentId)).toEqual([['payment.refunded', 1000]]);
  });

  it('again and again, needs a person after five repairs; of several who repair, one does', async () => {
    const order = await confirmed();
    const before = held;
    service.faults.refund = stuck;
    const workflowId = await requestRefund(service, order, { amount: 1000 });
    await untilStuck(workflowId, 'refundPaymentPart', before);
    await terminate(service, workflowId);
    delete service.faults.refund;
    const starts = service.parts.db.updateTable('saga_starts').where('workflow_id', '=', workflowId);
    await starts.set({ repairs: 5 }).execute();
    expect(said(await repair(), 'workflow')).toEqual([`refund-gone ${workflowId} person`]);
    await starts.set({ repairs: 4 }).execute();
    const both = await Promise.all([repair(), repair()]);
    const mended = both.flatMap((one) => said(one, 'workflow')).filter((line) => line.endsWith('mended'));
    expect(mended).toEqual([`refund-gone ${workflowId} mended`]);
    await run(workflowId).result();
    expect(await service.ledger(order.orderId)).toMatchObject({ net: 2000, refunds: 1 });
  });

  it('and was refused is over: nothing is started for it', async () => {
    const order = await confirmed();
    const hold = createHold();
    service.faults.refund = hold.wait;
    const workflowId = await requestRefund(service, order, { amount: 2000 });
    await hold.reached;
    await service.parts.gateway.refund(order.paymentId, { key: newId(), amount: 1500 });
    hold.release();
    await expect(run(workflowId).result()).rejects.toMatchObject({ cause: { type: 'refund-exceeds-held' } });
    // What the test has taken behind our back is all there is to find.
    expect(said(await repair(), 'payment')).toEqual([`payment-event-missing ${order.paymentId} mended`]);
    expect(await startOf(workflowId)).toEqual({ repairs: 0, state: 'started' });
  });
});

describe('an order with a part of its payment refunded', () => {
  it('is in order, confirmed or cancelled afterwards, with the goods or without', async () => {
    const [kept, cancelled] = [await confirmed(), await confirmed()];
    for (const order of [kept, cancelled]) {
      await run(await requestRefundWhenStarted(order, { amount: 100 })).result();
      await run(await requestRefundWhenStarted(order, { amount: 200, restock: true })).result();
    }
    await service.commands.cancel(cancelled.orderId, 'wrong colour', 'customer', metadata);
    await eventually(async () => ((await service.order(cancelled.orderId)).status === 'cancelled' ? true : undefined));
    expect((await repair()).findings).toEqual([]);
    expect(await booksOf(service.parts, kept.orderId)).toMatchObject({ status: 'confirmed', refunds: 2, net: 2700 });
    expect(await booksOf(service.parts, cancelled.orderId)).toMatchObject({ status: 'cancelled', refunds: 3, net: 0 });
  });

  async function requestRefundWhenStarted(order: PaidOrder, of: Parameters<typeof requestRefund>[2]): Promise<string> {
    const workflowId = await requestRefund(service, order, of);
    await eventually(async () => ((await startOf(workflowId))?.state === 'started' ? true : undefined));
    return workflowId;
  }

  it('of which nobody told: the event says what is missing, by its amount, and the order’s money stays', async () => {
    const order = await confirmed();
    await run(await requestRefundWhenStarted(order, { amount: 100 })).result();
    await service.parts.gateway.refund(order.paymentId, { key: newId(), amount: 700 });
    expect(said(await report(), 'payment')).toEqual([`payment-event-missing ${order.paymentId} found`]);
    const both = await Promise.all([repair(), repair()]);
    expect(both.flatMap((one) => said(one, 'payment'))).toContain(`payment-event-missing ${order.paymentId} mended`);
    expect(await refundsOf(order.paymentId)).toEqual([
      ['payment.refunded', 100],
      ['payment.refunded', 700],
    ]);
    expect(await service.ledger(order.orderId)).toMatchObject({ net: 2200, captures: 1, refunds: 2 });
  });
});

describe('money that nobody wanted', () => {
  it.each(['failed', 'confirmed by another'])(
    'whose refund is lost (%s) goes back by another run, once',
    async (of) => {
      const paymentMethod = of === 'failed' ? 'pm_declined' : 'pm_ok';
      const orderId = await service.submit({ paymentMethod });
      await service.ended(orderId);
      const paymentId = await anotherPayment(service, orderId);
      const before = held;
      service.faults.afterRefund = stuck;
      await callback(service, { orderId, paymentId, outcome: 'completed' });
      const workflowId = unwantedRefundId(paymentId);
      await untilStuck(workflowId, 'refundPaymentPart', before);
      await eventually(async () => ((await service.ledger(orderId)).refunds === 1 ? true : undefined));
      // It lives, and will say so itself.
      expect((await repair()).findings).toEqual([]);
      await terminate(service, workflowId);
      delete service.faults.afterRefund;
      expect(said(await repair(), 'workflow')).toEqual([`refund-gone ${workflowId} mended`]);
      expect(await run(workflowId).result()).toEqual({ status: 'refunded', amount: 3000 });
      expect(await refundsOf(paymentId)).toEqual([['payment.refunded', 3000]]);
      expect(await service.ledger(orderId)).toMatchObject({ refunds: 1, net: of === 'failed' ? 0 : 3000 });
    },
  );

  it('whose refund was never started, although its event was delivered, goes back', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await service.ended(orderId);
    await queueIsEmpty(service.parts);
    const paymentId = await anotherPayment(service, orderId);
    const workflowId = await deliveredInVain('payment.callback_received', async () => {
      await callback(service, { orderId, paymentId, outcome: 'completed' });
      return unwantedRefundId(paymentId);
    });
    expect(said(await repair(), 'workflow')).toEqual([`refund-gone ${workflowId} mended`]);
    expect(await run(workflowId).result()).toEqual({ status: 'refunded', amount: 3000 });
    expect(await service.ledger(orderId)).toMatchObject({ refunds: 1, net: 0 });
  });
});

describe('a verification whose run is gone', () => {
  const isReminded = async (userId: string): Promise<void> => {
    await eventually(async () =>
      (await eventTypes(service, userId)).includes('user.verification_reminder_due') ? true : undefined,
    );
  };

  it('goes on in another run; what was said is not said again', async () => {
    const userId = await createUser(service);
    await isReminded(userId);
    const workflowId = verifyAddressId(userId);
    await terminate(service, workflowId);
    expect(said(await repair(), 'user')).toEqual([`verification-gone ${userId} mended`]);
    await untilSecondReminder(userId);
    await verifyEmail(service, userId);
    expect(await run(workflowId).result()).toMatchObject({ status: 'verified' });
    const ids = (await service.parts.store.getEvents(userId))
      .filter(({ eventType }) => eventType === 'user.verification_reminder_due')
      .map(({ payload }) => (payload as { reminder: number }).reminder);
    expect(ids).toEqual([...new Set(ids)]);
  });

  async function untilSecondReminder(userId: string): Promise<void> {
    await eventually(async () => {
      const reminders = (await eventTypes(service, userId)).filter((type) => type.includes('reminder'));
      return reminders.length > 1 ? true : undefined;
    });
  }

  it('and whose user is verified, or that somebody has cancelled, is none', async () => {
    const [verified, stopped] = [await createUser(service), await createUser(service)];
    await Promise.all([verified, stopped].map(isReminded));
    await run(verifyAddressId(stopped)).cancel();
    await run(verifyAddressId(stopped))
      .result()
      .catch(() => 'cancelled');
    await terminate(service, verifyAddressId(verified));
    await verifyEmail(service, verified);
    expect((await repair()).findings).toEqual([]);
  });
});

describe('an order that is confirmed while its run is still open', () => {
  it('is in order when the run is terminated there, and is refunded when it is cancelled later', async () => {
    const hold = createHold();
    service.faults.committed = async () => {
      if (activityInfo().activityType === 'confirmOrder') await hold.wait();
    };
    const orderId = await service.submit();
    await hold.reached;
    await terminate(service, orderSagaId(orderId));
    delete service.faults.committed;
    hold.release();
    expect((await repair()).findings).toEqual([]);
    const confirmed = { status: 'confirmed', reservation: 'consumed', captures: 1, refunds: 0, net: 3000 };
    expect(await booksOf(service.parts, orderId)).toEqual(confirmed);
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
    expect(await booksOf(service.parts, orderId)).toMatchObject({ reservation: 'released', refunds: 1, net: 0 });
  });
});
