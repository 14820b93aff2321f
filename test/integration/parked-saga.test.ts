// An undo that keeps failing, or a step that may not be given up on: parked, seen, and dealt with.
import { activityInfo } from '@temporalio/activity';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { EventPayload } from '../../src/domain/catalogue.ts';
import { DomainError, UnavailableError } from '../../src/domain/errors.ts';
import { sagaStreamId } from '../../src/domain/ids.ts';
import { orderSagaId, refundOrderId } from '../../src/domain/saga-contract.ts';
import { expectBooksToBalance } from '../support/books.ts';
import {
  detailsOf,
  parkedRefund,
  parksAtOnce,
  resolve,
  sagaView,
  signalByHand,
  untilParked,
} from '../support/parked.ts';
import { confirmedOrder, requestRefund } from '../support/refunds.ts';
import {
  eventTypes,
  eventually,
  metadata,
  startSagaService,
  stepsOf,
  type SagaService,
} from '../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ environment: parksAtOnce });
  await service.stock(5);
  // The first saga of a process waits until its workflows are bundled, however long a busy machine takes for that.
  const first = await service.submit({ paymentMethod: 'pm_declined' });
  const hasEnded = async () => ((await service.order(first)).status === 'failed' ? true : undefined);
  await eventually(hasEnded, 90_000);
}, 120_000);
beforeEach(async () => await service.stock(5));
afterEach(() => {
  const names = ['unitOfWork', 'committed', 'capture', 'afterCapture', 'refund', 'get'] as const;
  for (const name of names) delete service.faults[name];
});
afterAll(async () => await service.stop());

const away = new UnavailableError('the gateway is away');
const refused = new DomainError('refund-exceeds-held', 'this card takes no refunds');
const nothingHeld = { onHand: 5, reserved: 0, net: 0 };
const run = (workflowId: string) => service.parts.temporal.workflow.getHandle(workflowId);

const listedAs = async (status: string, orderId: string): Promise<void> => {
  await eventually(async () => {
    const query = `OrderId = "${orderId}" AND SagaStatus = "${status}"`;
    for await (const { workflowId } of service.parts.temporal.workflow.list({ query })) return workflowId;
    return undefined;
  });
};
const applied = async (workflowId: string) =>
  (await service.parts.store.getEvents(sagaStreamId(workflowId)))
    .filter(({ eventType }) => eventType === 'saga.resolution_applied')
    .map(({ payload }) => payload as EventPayload<'saga.resolution_applied'>);
const paymentOf = async (orderId: string) =>
  await service.parts.db
    .selectFrom('payments')
    .select(['payment_id', 'status', 'settled_by_hand'])
    .where('order_id', '=', orderId)
    .executeTakeFirstOrThrow();
/** Lets nothing through of the activities that are named. */
const failing = (...activities: readonly string[]): void => {
  service.faults.unitOfWork = async () => {
    if (activities.includes(activityInfo().activityType)) throw new Error('the database is in a bad mood');
  };
};

describe('an undo whose effect is there, and whose answer never comes', () => {
  it('is parked and seen as well, and goes on when its answer gets through', async () => {
    service.faults.committed = async () => {
      if (activityInfo().activityType === 'releaseInventory') throw new Error('the answer is lost');
    };
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await untilParked(service, orderSagaId(orderId), 'reserve');
    expect(await service.ledger(orderId)).toMatchObject(nothingHeld);
    expect(await sagaView(service, orderId)).toMatchObject({
      status: 'NeedsAttention',
      steps: [
        { name: 'reserve', state: 'parked', error: 'the answer is lost' },
        { name: 'charge' },
        { name: 'confirm' },
      ],
    });

    delete service.faults.committed;
    await resolve(service, orderId, { step: 'reserve', action: 'retry' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'failed' });
    expect(await stepsOf(service, orderId)).toEqual({ reserve: 'undone', charge: 'refused', end: 'done' });
  });
});

describe('an undo that keeps failing', () => {
  it('is parked and seen everywhere, holds up no other undo, and goes on when an operator says so', async () => {
    const orderId = await parkedRefund(service, away);
    await eventually(async () => ((await stepsOf(service, orderId))['reserve'] === 'undone' ? true : undefined));
    expect(await service.order(orderId)).toMatchObject({ status: 'submitted' });
    expect((await run(orderSagaId(orderId)).describe()).status.name).toBe('RUNNING');
    expect(await sagaView(service, orderId)).toMatchObject({
      status: 'NeedsAttention',
      steps: [
        { name: 'reserve', state: 'undone' },
        { name: 'charge', state: 'parked', error: away.message, actions: ['retry', 'skip', 'settled'] },
        { name: 'confirm', state: 'pending' },
      ],
    });
    await listedAs('NeedsAttention', orderId);
    expect(await detailsOf(service, orderSagaId(orderId))).toMatch(/charge needs attention(.|\n)*the gateway is away/);
    expect(await run(orderSagaId(orderId)).query('sagaSteps')).toMatchObject([
      { name: 'reserve', state: 'undone' },
      { name: 'charge', state: 'parked', error: expect.stringContaining(away.message) as string },
      { name: 'confirm', state: 'pending', attempts: 0 },
    ]);

    delete service.faults.refund;
    await resolve(service, orderId, { step: 'charge', action: 'retry' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, captures: 1, refunds: 1 });
    expect(await stepsOf(service, orderId)).toEqual({ reserve: 'undone', charge: 'undone', end: 'done' });
    expect(await applied(orderSagaId(orderId))).toEqual([
      {
        orderId,
        workflowId: orderSagaId(orderId),
        step: 'charge',
        action: 'retry',
        reference: null,
        resolvedBy: 'ada',
      },
    ]);
    await listedAs('Cancelled', orderId);
  });

  it('stays parked when an operator’s retry fails as well', async () => {
    const orderId = await parkedRefund(service, away);
    await resolve(service, orderId, { step: 'charge', action: 'retry' });
    await eventually(async () => ((await applied(orderSagaId(orderId))).length === 1 ? true : undefined));
    await expect(resolve(service, orderId, { step: 'reserve', action: 'retry' })).rejects.toMatchObject({
      code: 'step-not-parked',
    });
    expect(await sagaView(service, orderId)).toMatchObject({ status: 'NeedsAttention' });
    await resolve(service, orderId, { step: 'charge', action: 'skip', reference: 'ticket 1' });
    await service.ended(orderId);
  });
});

describe('an operator', () => {
  it('who settles a refund by other means leaves balanced books, with the reference, and the payment closed', async () => {
    const orderId = await parkedRefund(service, refused);
    await resolve(service, orderId, { step: 'charge', action: 'settled', reference: 'bank transfer 4711' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, captures: 1, refunds: 0 });
    const { payment_id: paymentId, ...payment } = await paymentOf(orderId);
    expect(payment).toEqual({ status: 'refunded', settled_by_hand: 'bank transfer 4711' });
    expect((await sagaView(service, orderId)).steps[1]).toEqual({
      name: 'charge',
      state: 'undone',
      attempts: 1,
      resolution: 'settled by hand by ada: bank transfer 4711',
    });
    // The refund that was lost on its way arrives now.
    const late = service.parts.gateway.refund(paymentId, { key: 'late', amount: 3000 });
    await expect(late).rejects.toMatchObject({ code: 'refund-exceeds-held' });
    await expectBooksToBalance(service.parts, { stocked: { lamp: 5 } });
  });

  it('who skips a refund leaves the money where it is, with the reference that says why', async () => {
    const orderId = await parkedRefund(service, refused);
    await resolve(service, orderId, { step: 'charge', action: 'skip', reference: 'kept as a deposit, ticket 3' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, net: 3000, captures: 1, refunds: 0 });
    expect(await paymentOf(orderId)).toMatchObject({
      status: 'charged',
      settled_by_hand: 'kept as a deposit, ticket 3',
    });
    expect(await stepsOf(service, orderId)).toEqual({ reserve: 'undone', charge: 'done', end: 'done' });
    await expectBooksToBalance(service.parts, { stocked: { lamp: 5 } });
  });

  it('who settles a release closes the reservation, so that nothing takes or gives its stock again', async () => {
    failing('releaseInventory');
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await untilParked(service, orderSagaId(orderId), 'reserve');
    await resolve(service, orderId, { step: 'reserve', action: 'settled', reference: 'stock count 7' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'failed' });
    const reservation = await service.parts.db
      .selectFrom('reservations')
      .select(['state', 'settled_by_hand'])
      .where('order_id', '=', orderId)
      .executeTakeFirstOrThrow();
    expect(reservation).toEqual({ state: 'released', settled_by_hand: 'stock count 7' });
    await expect(run(orderSagaId(orderId)).result()).rejects.toMatchObject({ cause: { type: 'payment-declined' } });
    // Put right by hand, as the operator has said.
    await service.parts.db.updateTable('products').set({ reserved: 0 }).execute();
  });

  it('is heard once, however often the event arrives', async () => {
    const orderId = await parkedRefund(service, refused);
    const workflowId = orderSagaId(orderId);
    await service.parts.db
      .insertInto('outbox_destinations')
      .values({ destination: 'temporal', paused: true })
      .execute();
    await resolve(service, orderId, {
      step: 'charge',
      action: 'retry',
      eventId: 'b1d0c2de-6a53-5b0f-8d5f-1f6f2f3a4b5c',
    });
    await resolve(service, orderId, {
      step: 'charge',
      action: 'retry',
      eventId: 'b1d0c2de-6a53-5b0f-8d5f-1f6f2f3a4b5c',
    });
    const word = { step: 'charge', action: 'retry', eventId: 'b1d0c2de-6a53-5b0f-8d5f-1f6f2f3a4b5c' } as const;
    await signalByHand(service, workflowId, word);
    await service.parts.db.deleteFrom('outbox_destinations').execute();
    await resolve(service, orderId, { step: 'charge', action: 'settled', reference: 'ticket 4' });
    await service.ended(orderId);
    expect((await applied(workflowId)).map(({ action }) => action)).toEqual(['retry', 'settled']);
  });

  it('who sends the signal by hand is heard too, and recorded; what makes no sense is ignored and shown', async () => {
    const orderId = await parkedRefund(service, refused);
    const workflowId = orderSagaId(orderId);
    const nonsense = [
      'hello',
      { step: 'charge', action: 'settled' },
      { step: 'charge', action: 'explode' },
      { step: 'reserve', action: 'retry' },
    ];
    for (const word of nonsense) await run(workflowId).signal('resolve', word);
    const details = await eventually(async () => {
      const text = await detailsOf(service, workflowId);
      return text.includes('reserve, which is not parked') ? text : undefined;
    });
    expect(details).toMatch(/not a JSON object/);
    expect(details).toMatch(/settled needs a reference/);
    expect(details).toMatch(/action must be one of retry, skip, settled/);

    await signalByHand(service, workflowId, { step: 'charge', action: 'settled', reference: 'cash, ticket 5' });
    await service.ended(orderId);
    expect(await service.ledger(orderId)).toMatchObject(nothingHeld);
    expect(await applied(workflowId)).toEqual([
      { orderId, workflowId, step: 'charge', action: 'settled', reference: 'cash, ticket 5', resolvedBy: 'operator' },
    ]);
  });
});

describe('a cancellation while a saga is parked', () => {
  it('in Temporal, of the order, and twice, lets the compensation come to its end, once', async () => {
    failing('releaseInventory');
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await untilParked(service, orderSagaId(orderId), 'reserve');
    await run(orderSagaId(orderId)).cancel();
    await service.commands.cancel(orderId, 'and I do not want it', 'customer', metadata);
    await run(orderSagaId(orderId)).cancel();
    delete service.faults.unitOfWork;
    await resolve(service, orderId, { step: 'reserve', action: 'retry' });
    // It was answered with 202.
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await run(orderSagaId(orderId)).result()).toMatchObject({ status: 'cancelled' });
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, captures: 0, refunds: 0 });
  });
});

describe('a step that may not be given up on', () => {
  it('is parked visibly, can only be retried, and its answer still counts: a cancellation came first', async () => {
    failing('confirmOrder');
    const orderId = await service.submit();
    await untilParked(service, orderSagaId(orderId), 'confirm');
    expect(await sagaView(service, orderId)).toMatchObject({
      status: 'NeedsAttention',
      steps: [{ state: 'done' }, { state: 'done' }, { state: 'parked', actions: ['retry'] }],
    });
    const skip = resolve(service, orderId, { step: 'confirm', action: 'skip', reference: 'ticket 6' });
    await expect(skip).rejects.toMatchObject({ code: 'action-not-possible', field: 'action' });
    await signalByHand(service, orderSagaId(orderId), { step: 'confirm', action: 'skip', reference: 'ticket 6' });
    await eventually(async () =>
      (await detailsOf(service, orderSagaId(orderId))).includes('only retry') ? true : undefined,
    );
    await service.commands.cancel(orderId, 'it takes too long', 'customer', metadata);
    delete service.faults.unitOfWork;
    await resolve(service, orderId, { step: 'confirm', action: 'retry' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, captures: 1, refunds: 1 });
  });

  it('such as the order’s end is in the view as long as it is parked', async () => {
    failing('endOrder');
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    await untilParked(service, orderSagaId(orderId), 'end');
    const { steps } = await sagaView(service, orderId);
    expect(steps.at(-1)).toMatchObject({ name: 'end', state: 'parked', actions: ['retry'] });
    delete service.faults.unitOfWork;
    await resolve(service, orderId, { step: 'end', action: 'retry' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'failed' });
    expect((await sagaView(service, orderId)).steps).toHaveLength(3);
    const late = resolve(service, orderId, { step: 'end', action: 'retry' });
    await expect(late).rejects.toMatchObject({ code: 'saga-ended' });
  });
});

describe('the refund of a confirmed order', () => {
  it('is parked where it is refused for good, and ends when the money has gone back by other means', async () => {
    const orderId = await service.submit();
    await service.ended(orderId);
    service.faults.refund = async () => {
      throw refused;
    };
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await untilParked(service, refundOrderId(orderId), 'refund');
    expect(await sagaView(service, orderId)).toMatchObject({
      status: 'Confirmed',
      refund: {
        workflowId: refundOrderId(orderId),
        status: 'NeedsAttention',
        steps: [{ name: 'refund', state: 'parked' }, { state: 'pending' }, { state: 'pending' }],
      },
    });
    await resolve(service, orderId, { step: 'refund', action: 'settled', reference: 'bank transfer 4712' });
    await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, captures: 1, refunds: 0 });
    expect(await run(refundOrderId(orderId)).result()).toEqual({ status: 'cancelled' });
    expect(await eventTypes(service, orderId)).toContain('order.cancelled');
    expect((await sagaView(service, orderId)).refund).toMatchObject({ status: 'Cancelled' });
  });
});

describe('the refund of a part', () => {
  it('is parked while the gateway is away, shown beside the saga, and goes on when an operator says so', async () => {
    const paid = await confirmedOrder(service);
    service.faults.refund = async () => {
      throw away;
    };
    const workflowId = await requestRefund(service, paid, { amount: 1000 });
    await untilParked(service, workflowId, 'refund');
    expect(await sagaView(service, paid.orderId)).toMatchObject({
      status: 'Confirmed',
      refunds: [
        { workflowId, status: 'NeedsAttention', steps: [{ name: 'refund', state: 'parked', actions: ['retry'] }] },
      ],
    });
    const skip = resolve(service, paid.orderId, { step: 'refund', action: 'skip', reference: 'ticket 1' });
    await expect(skip).rejects.toMatchObject({ code: 'action-not-possible' });

    delete service.faults.refund;
    await resolve(service, paid.orderId, { step: 'refund', action: 'retry' });
    expect(await run(workflowId).result()).toMatchObject({ status: 'refunded', amount: 1000 });
    expect(await service.ledger(paid.orderId)).toMatchObject({ net: 2000, captures: 1, refunds: 1 });
    expect(await applied(workflowId)).toMatchObject([{ orderId: paid.orderId, workflowId, action: 'retry' }]);
    expect((await sagaView(service, paid.orderId)).refunds).toMatchObject([{ workflowId, status: 'Confirmed' }]);
    const late = resolve(service, paid.orderId, { step: 'refund', action: 'retry' });
    await expect(late).rejects.toMatchObject({ code: 'saga-ended' });
  });
});
