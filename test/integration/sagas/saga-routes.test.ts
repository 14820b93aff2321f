// What the events mean to the sagas, by what is stored when they come; and the router, before it asks Temporal anything.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { CatalogueEvent, EventOf, EventPayload, EventType } from '../../../src/domain/catalogue.ts';
import { UnavailableError } from '../../../src/domain/errors.ts';
import type { StoredEvent } from '../../../src/domain/event.ts';
import { commandContext, newId, sagaStreamId } from '../../../src/domain/ids.ts';
import { orderSagaId, paymentCallbackSignal, refundPaymentId } from '../../../src/domain/saga-contract.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { PermanentDeliveryError } from '../../../src/outbox/delivery.ts';
import type { SagaClient } from '../../../src/sagas/saga-client.ts';
import type { SagaRouteDeps } from '../../../src/sagas/saga-route.ts';
import { createSagaRouter } from '../../../src/sagas/saga-router.ts';
import { sagaRoutes } from '../../../src/sagas/saga-routes.ts';
import { createSagaStarts } from '../../../src/sagas/saga-starts.ts';
import { metadata, startShop, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());

const limits = { stepLimitSeconds: 1, paymentDeadlineSeconds: 1 };
const verification = { reminderSeconds: 1, expirySeconds: 2 };
const deps = (held: number): SagaRouteDeps => ({ store: shop.store, limits, verification, heldOf: async () => held });

async function submitted(): Promise<string> {
  const items = [{ productId: 'lamp', quantity: 1, price: 1500 }];
  const input = { customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok', items };
  const { orderId } = (await shop.commands.create(input, metadata)).state;
  await shop.commands.submit(orderId, metadata);
  return orderId;
}

async function append<N extends EventType>(
  eventType: N,
  aggregateId: string,
  aggregateType: string,
  payload: EventPayload<N>,
): Promise<StoredEvent<EventOf<N>>> {
  const event = { eventId: newId(), eventType, occurredAt: new Date(), aggregateId, aggregateType, payload, metadata };
  const [stored] = await shop.store.append(event);
  return stored as StoredEvent<EventOf<N>>;
}
const callbackFor = async (orderId: string, paymentId: string) =>
  await append('payment.callback_received', paymentId, 'payment', {
    paymentId,
    orderId,
    outcome: 'completed',
    callbackId: newId(),
  });
const says = async (type: 'payment.voided' | 'payment.failed', orderId: string, paymentId: string) =>
  await append(type, paymentId, 'payment', { paymentId, orderId, reason: 'r' });
const onCallback = async (event: StoredEvent<EventOf<'payment.callback_received'>>, held: number) =>
  await sagaRoutes['payment.callback_received'](event, deps(held));

describe('a payment’s callback', () => {
  it('is a signal to the saga that waits for it, with the event’s id', async () => {
    const [orderId, paymentId] = [await submitted(), newId()];
    const event = await callbackFor(orderId, paymentId);
    expect(await onCallback(event, 3000)).toMatchObject({
      kind: 'signal',
      workflowId: orderSagaId(orderId),
      signal: paymentCallbackSignal,
      message: { eventId: event.eventId, paymentId },
    });
  });

  // A gateway that takes money although the intent is void breaks its contract; the money goes back all the same.
  it.each(['payment.voided', 'payment.failed'] as const)(
    'for a payment that the saga has given up (%s) refunds what is held, while the saga still runs',
    async (type) => {
      const [orderId, paymentId] = [await submitted(), newId()];
      await says(type, orderId, paymentId);
      const event = await callbackFor(orderId, paymentId);
      expect(await onCallback(event, 3000)).toMatchObject({
        kind: 'start',
        request: {
          workflowId: refundPaymentId(paymentId, 'unwanted'),
          input: { orderId, paymentId, amount: 'all-held', restock: false, metadata: { causationId: event.eventId } },
        },
      });
      expect(await onCallback(event, 0)).toEqual({ kind: 'nothing' });
    },
  );

  it.each([
    { action: 'retry', knewOfIt: true, kind: 'start' },
    { action: 'skip', knewOfIt: true, kind: 'nothing' },
    { action: 'settled', knewOfIt: true, kind: 'nothing' },
    { action: 'skip', knewOfIt: false, kind: 'start' },
  ] as const)(
    'after an operator’s word about the undo ($action, of money that was known: $knewOfIt): $kind',
    async ({ action, knewOfIt, kind }) => {
      const [orderId, paymentId] = [await submitted(), newId()];
      const workflowId = orderSagaId(orderId);
      const charged = { paymentId, orderId, amount: 1500, currency: 'EUR', method: 'pm_pending' };
      if (knewOfIt) await append('payment.completed', paymentId, 'payment', charged);
      const said = { orderId, workflowId, step: 'charge', action, reference: 'ticket 1', resolvedBy: 'ada' };
      await append('saga.resolution_applied', sagaStreamId(workflowId), 'saga', said);
      const order = await loadOrder(shop.repository, orderId, commandContext(metadata));
      order.markAsCancelled('changed my mind', 'customer');
      await shop.repository.save(order);
      expect(await onCallback(await callbackFor(orderId, paymentId), 1500)).toMatchObject({ kind });
    },
  );

  it('that meets the end of its saga on the way is judged by that end', async () => {
    const [orderId, paymentId] = [await submitted(), newId()];
    const action = await onCallback(await callbackFor(orderId, paymentId), 3000);
    if (action.kind !== 'signal') throw new Error(`it is ${action.kind}`);
    await expect(action.whenEnded()).rejects.toThrow(/is gone \(terminated, or lost\)/);
    const order = await loadOrder(shop.repository, orderId, commandContext(metadata));
    order.markAsFailed('payment-failed: no');
    await shop.repository.save(order);
    expect(await action.whenEnded()).toMatchObject({ kind: 'start' });
  });

  it('is asked about again later where the gateway is away', async () => {
    const [orderId, paymentId] = [await submitted(), newId()];
    await says('payment.voided', orderId, paymentId);
    const event = await callbackFor(orderId, paymentId);
    const heldOf = async (): Promise<never> => {
      throw new UnavailableError('nobody home');
    };
    expect(await sagaRoutes['payment.callback_received'](event, { ...deps(0), heldOf })).toMatchObject({
      kind: 'wait',
      reason: expect.stringMatching(/nobody home/) as string,
    });
  });
});

describe('the router', () => {
  const neverAsked = async (): Promise<never> => {
    throw new Error('Temporal was asked');
  };
  const client: SagaClient = { start: neverAsked, signal: neverAsked };
  const deliver = async (event: StoredEvent) =>
    await createSagaRouter({ ...deps(0), client, starts: createSagaStarts(shop.db) })({
      event,
      attempts: 1,
      redelivered: false,
    });

  it('lets a signal wait, without an attempt, until its saga is started', async () => {
    const orderId = await submitted();
    const event = await callbackFor(orderId, newId());
    expect(await deliver(event)).toMatchObject({ kind: 'wait' });
    // Begun, and not known to be started: Temporal may not have it.
    await createSagaStarts(shop.db).begin(orderSagaId(orderId), orderId, event.eventId);
    expect(await deliver(event)).toMatchObject({ kind: 'wait' });
  });

  it('takes a start that is on record as delivered, whatever Temporal has forgotten', async () => {
    const orderId = await submitted();
    const starts = createSagaStarts(shop.db);
    const stream = (await shop.store.getEvents(orderId)) as readonly StoredEvent<CatalogueEvent>[];
    const event = stream.find(({ eventType }) => eventType === 'order.submitted');
    if (event === undefined) throw new Error('the order was not submitted');
    await expect(deliver(event)).rejects.toThrow('Temporal was asked');
    await starts.markStarted(orderSagaId(orderId), 'run-1');
    expect(await deliver(event)).toEqual({ kind: 'done' });
  });

  it('makes a dead letter of an event that no saga takes', async () => {
    const event = await append('order.failed', newId(), 'order', { orderId: 'o-1', reason: 'r' });
    await expect(deliver(event)).rejects.toThrow(PermanentDeliveryError);
    await expect(deliver(event)).rejects.toThrow('no saga takes order.failed');
  });
});
