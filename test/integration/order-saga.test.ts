// Every path of the order saga, on the real Temporal server and PostgreSQL, judged by the tables.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { orderSagaId, refundOrderId } from '../../src/domain/saga-contract.ts';
import { createSagaViews } from '../../src/sagas/saga-view.ts';
import {
  callback,
  eventTypes,
  eventually,
  metadata,
  startSagaService,
  stepsOf,
  untilPaymentIsPending,
  type SagaService,
} from '../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService();
});
afterAll(async () => await service.stop());
beforeEach(async () => await service.stock(5));

const run = (orderId: string) => service.parts.temporal.workflow.getHandle(orderSagaId(orderId));
const nothingHeld = { onHand: 5, reserved: 0, net: 0 };

async function paymentOf(orderId: string): Promise<{ paymentId: string; status: string; refunded: number }> {
  return await eventually(async () => {
    const row = await service.parts.db
      .selectFrom('payments')
      .select(['payment_id as paymentId', 'status', 'refunded'])
      .where('order_id', '=', orderId)
      .executeTakeFirst();
    return row;
  });
}

const waitingForPayment = async (orderId: string): Promise<string> => await untilPaymentIsPending(service, orderId);

describe('an order that can be fulfilled', () => {
  it('is confirmed, charged once, and its goods leave the stock', async () => {
    const orderId = await service.submit();
    expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
    expect(await service.ledger(orderId)).toEqual({ onHand: 3, reserved: 0, net: 3000, captures: 1, refunds: 0 });
    expect(await eventTypes(service, orderId)).toEqual([
      'order.created',
      'order.item_added',
      'order.submitted',
      'order.confirmed',
    ]);
    expect(await run(orderId).result()).toMatchObject({ status: 'confirmed' });
  });

  it('has its payment and the time of it on its row, once, by the handler of payment.completed', async () => {
    const orderId = await service.submit();
    const { paymentId } = await paymentOf(orderId);
    const order = await eventually(async () => {
      const view = await service.order(orderId);
      return view.paidAt === undefined ? undefined : view;
    });
    expect(order.paymentId).toBe(paymentId);
    const inbox = await service.parts.db.selectFrom('inbox').selectAll().execute();
    const completed = (await service.parts.store.getEvents(paymentId)).find(
      (event) => event.eventType === 'payment.completed',
    );
    const handled = inbox.filter((row) => row.event_id === completed?.eventId).map((row) => row.handler_name);
    expect(handled.filter((name) => name === 'orders.record-payment')).toHaveLength(1);
  });

  it('carries the correlation id of the command through every event that the saga writes', async () => {
    const orderId = await service.submit();
    await service.ended(orderId);
    const submitted = (await service.parts.store.getEvents(orderId)).find(
      (event) => event.eventType === 'order.submitted',
    );
    const { paymentId } = await paymentOf(orderId);
    const [completed] = await service.parts.store.getEvents(paymentId);
    expect(completed?.metadata).toMatchObject({
      correlationId: 'test',
      causationId: submitted?.eventId,
      sagaId: orderSagaId(orderId),
      tenantId: 'default',
    });
  });

  it('leaves a delivery done for every stored event and each of its destinations', async () => {
    const orderId = await service.submit();
    await service.ended(orderId);
    await eventually(async () => {
      const open = await service.parts.db.selectFrom('outbox').select('id').where('published', '=', false).execute();
      return open.length === 0 ? true : undefined;
    });
    const rows = await service.parts.db
      .selectFrom('outbox')
      .select(['event_type', 'destination', 'state'])
      .where('aggregate_id', '=', orderId)
      .execute();
    expect(rows.map((row) => `${row.event_type} ${row.destination} ${row.state}`).toSorted()).toEqual([
      'order.confirmed bus done',
      'order.created bus done',
      'order.item_added bus done',
      'order.submitted bus done',
      'order.submitted temporal done',
    ]);
  });

  it('is found in Temporal by its search attributes', async () => {
    const orderId = await service.submit();
    await service.ended(orderId);
    await run(orderId).result();
    const found = await eventually(async () => {
      const { client, query } = {
        client: service.parts.temporal,
        query: `OrderId = "${orderId}" AND SagaStatus = "Confirmed"`,
      };
      for await (const info of client.workflow.list({ query })) return info.workflowId;
      return undefined;
    });
    expect(found).toBe(orderSagaId(orderId));
  });
});

describe('a refusal', () => {
  it('of the payment releases the stock, charges nothing and names the decline', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_declined' });
    const order = await service.ended(orderId);
    expect(order).toMatchObject({
      status: 'failed',
      failureReason: expect.stringMatching(/^payment-declined: .*declined/) as string,
    });
    expect(await service.ledger(orderId)).toMatchObject({ ...nothingHeld, captures: 0 });
    expect(await stepsOf(service, orderId)).toEqual({ reserve: 'undone', charge: 'refused', end: 'done' });
    await expect(run(orderId).result()).rejects.toMatchObject({ cause: { type: 'payment-declined' } });
    expect(await paymentOf(orderId)).toMatchObject({ status: 'declined' });
  });

  it('for want of stock asks for no payment and undoes nothing', async () => {
    const orderId = await service.submit({ items: [{ productId: 'lamp', quantity: 9, price: 1 }] });
    expect(await service.ended(orderId)).toMatchObject({
      status: 'failed',
      failureReason: expect.stringMatching(/^out-of-stock: .*lamp/) as string,
    });
    expect(await service.ledger(orderId)).toMatchObject({ ...nothingHeld, captures: 0 });
    expect(await stepsOf(service, orderId)).toEqual({ reserve: 'refused', end: 'done' });
    expect(await service.parts.db.selectFrom('payments').selectAll().where('order_id', '=', orderId).execute()).toEqual(
      [],
    );
  });

  it.each([
    ['is not known', 'nowhere', 'unknown-product'],
    ['is short', 'rug', 'out-of-stock'],
  ])('of a third line that %s takes none of the others', async (_, productId, code) => {
    await service.stock(10, 'shade');
    await service.stock(0, 'rug');
    const items = ['shade', 'lamp', productId].map((id) => ({ productId: id, quantity: 1, price: 100 }));
    const orderId = await service.submit({ items });
    expect(await service.ended(orderId)).toMatchObject({
      failureReason: expect.stringMatching(new RegExp(`^${code}: `)) as string,
    });
    expect(await service.ledger(orderId)).toMatchObject({ onHand: 15, reserved: 0, captures: 0 });
    await service.stock(0, 'shade');
  });

  it('meets one of two orders that race for the last piece; the other has it', async () => {
    await service.stock(1);
    const items = [{ productId: 'lamp', quantity: 1, price: 100 }];
    const orderIds = await Promise.all([1, 2].map(async () => await service.submit({ items })));
    const ends = await Promise.all(orderIds.map(service.ended));
    expect(ends.map(({ status }) => status).toSorted()).toEqual(['confirmed', 'failed']);
    expect(ends.find(({ status }) => status === 'failed')?.failureReason).toMatch(/^out-of-stock: /);
    const ledgers = await Promise.all(orderIds.map(service.ledger));
    expect(ledgers.map(({ captures }) => captures)).toEqual(expect.arrayContaining([0, 1]));
    expect(ledgers[0]).toMatchObject({ onHand: 0, reserved: 0 });
  });

  it('of the currency comes before any payment exists', async () => {
    const orderId = await service.submit({ currency: 'ISK' });
    expect(await service.ended(orderId)).toMatchObject({
      failureReason: expect.stringMatching(/^currency-not-supported/) as string,
    });
    expect(await service.ledger(orderId)).toMatchObject({ ...nothingHeld, captures: 0 });
  });
});

describe('a gateway in trouble', () => {
  it('that captures and loses its answer is asked, and the charge is adopted', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_timeout' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
    expect(await service.ledger(orderId)).toMatchObject({ net: 3000, captures: 1, refunds: 0 });
  });

  it('that fails twice is tried again and charges once', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_flaky' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
    expect(await service.ledger(orderId)).toMatchObject({ net: 3000, captures: 1 });
    const step = await service.parts.db
      .selectFrom('saga_steps')
      .select('attempts')
      .where('workflow_id', '=', orderSagaId(orderId))
      .where('step', '=', 'charge')
      .executeTakeFirstOrThrow();
    expect(step.attempts).toBe(3);
  });
});

describe('a pending payment', () => {
  it('confirms the order when its callback says completed', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    const paymentId = await waitingForPayment(orderId);
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed', paymentId });
    expect(await service.ledger(orderId)).toMatchObject({ onHand: 3, reserved: 0, net: 3000, captures: 1 });
  });

  it('fails the order when its callback says failed', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    const paymentId = await waitingForPayment(orderId);
    await callback(service, { orderId, paymentId, outcome: 'failed', reason: 'the bank said no' });
    expect(await service.ended(orderId)).toMatchObject({ failureReason: 'payment-failed: the bank said no' });
    expect(await service.ledger(orderId)).toMatchObject({ ...nothingHeld, captures: 0 });
    expect(await eventTypes(service, paymentId)).toEqual(['payment.callback_received', 'payment.failed']);
  });

  it('takes the same callback twice as one', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    const paymentId = await waitingForPayment(orderId);
    const once = { orderId, paymentId, outcome: 'completed', callbackId: 'msg_1' } as const;
    await callback(service, once);
    await callback(service, once);
    await service.ended(orderId);
    expect(await eventTypes(service, paymentId)).toEqual(['payment.callback_received', 'payment.completed']);
    expect(await service.ledger(orderId)).toMatchObject({ captures: 1 });
  });

  it('is voided when the order is cancelled meanwhile, and a callback that comes late moves nothing', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    const paymentId = await waitingForPayment(orderId);
    await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    expect(await service.ledger(orderId)).toMatchObject({ ...nothingHeld, captures: 0 });
    expect(await paymentOf(orderId)).toMatchObject({ status: 'voided' });
    expect(await run(orderId).result()).toEqual({ status: 'cancelled', reason: 'changed my mind' });
    expect((await service.parts.store.getEvents(orderId)).at(-1)).toMatchObject({
      eventType: 'order.cancelled',
      payload: { reason: 'changed my mind', cancelledBy: 'customer' },
    });
  });

  it.each([
    ['completed', ['payment.completed', 'payment.refunded']],
    ['failed', ['payment.failed']],
  ] as const)('that has %s before a cancellation is heard says so before it is undone', async (outcome, told) => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    const paymentId = await waitingForPayment(orderId);
    // The gateway knows; the word of it is still on its way when the saga is stopped.
    const decided = { paymentId, orderId, amount: 3000, currency: 'EUR', outcome, reason: undefined };
    await service.parts.unitOfWork(async ({ tx }) => await service.parts.gateway.acceptCallback(tx, decided));
    await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await eventTypes(service, paymentId)).toEqual(told);
    expect(await service.ledger(orderId)).toMatchObject(nothingHeld);
  });

  it('is voided when the run is cancelled in Temporal, which then shows it as cancelled', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    await waitingForPayment(orderId);
    await run(orderId).cancel();
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await service.ledger(orderId)).toMatchObject({ ...nothingHeld, captures: 0 });
    await expect(run(orderId).result()).rejects.toThrow();
    expect((await run(orderId).describe()).status.name).toBe('CANCELLED');
  });
});

describe('a confirmed order that is cancelled', () => {
  it('is refunded, its goods come back, and it ends as cancelled', async () => {
    const orderId = await service.submit();
    await service.ended(orderId);
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, captures: 1, refunds: 1 });
    const refund = service.parts.temporal.workflow.getHandle(refundOrderId(orderId));
    expect(await refund.result()).toEqual({ status: 'cancelled' });
  });
});

describe('the view of a saga', () => {
  it('names the run, its address in the Web UI, and how far each step is', async () => {
    const { db, temporal } = service.parts;
    const views = createSagaViews({ db, client: temporal, uiUrl: 'http://ui', namespace: 'default' });
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    await waitingForPayment(orderId);
    const { runId } = await run(orderId).describe();
    const waiting = await eventually(async () => {
      const view = await views.find('default', orderId);
      // The step's own row is written a moment after the gateway's.
      return view?.runId === runId && view.steps[1]?.state === 'running' ? view : undefined;
    });
    expect(waiting).toEqual({
      workflowId: orderSagaId(orderId),
      runId,
      status: 'Running',
      steps: [
        { name: 'reserve', state: 'done', attempts: 1 },
        { name: 'charge', state: 'running', attempts: 1 },
        { name: 'confirm', state: 'pending', attempts: 0 },
      ],
      webUrl: `http://ui/namespaces/default/workflows/${orderSagaId(orderId)}/${runId}/history`,
    });
    await service.commands.cancel(orderId, 'enough', 'customer', metadata);
    await service.ended(orderId);
    expect(await views.find('default', orderId)).toMatchObject({
      status: 'Cancelled',
      steps: [{ state: 'undone' }, { state: 'undone' }, { state: 'pending' }],
    });
    expect(await views.find('other-tenant', orderId)).toBeUndefined();
  });
});
