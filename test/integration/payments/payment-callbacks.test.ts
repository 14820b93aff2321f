// A gateway's callback: the payment and the event that says so, once per callback id.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ConflictError } from '../../../src/domain/errors.ts';
import { newId } from '../../../src/domain/ids.ts';
import { createPaymentCallbacks } from '../../../src/payments/payment-callbacks.ts';
import type { Payment, PaymentCallback, PaymentStatus } from '../../../src/payments/payment-gateway.ts';
import { callbackOf, paymentRequest, refusalOf } from '../../support/payment-gateway-contract.ts';
import { startShop, tenantId, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());

const pending = async (): Promise<Payment> =>
  await shop.gateway.capture((await shop.gateway.prepare(paymentRequest({ method: 'pm_pending' }))).paymentId);
const receive = async (callback: PaymentCallback, callbackId: string = newId()): Promise<void> =>
  await createPaymentCallbacks(shop).receive(callbackId, callback, { correlationId: 'test' });
const received = async (paymentId: string): Promise<readonly unknown[]> =>
  (await shop.store.getEvents(paymentId)).map((event) => (event.payload as { outcome: string }).outcome);
const statusOf = async (paymentId: string): Promise<PaymentStatus | undefined> =>
  (await shop.gateway.get(paymentId))?.status;
const captures = async (paymentId: string): Promise<number> =>
  (await shop.db.selectFrom('ledger_entries').select('kind').where('payment_id', '=', paymentId).execute()).filter(
    ({ kind }) => kind === 'capture',
  ).length;

it('charges a payment that waits for it, and says so in an event for its order', async () => {
  const payment = await pending();
  const { paymentId, orderId } = payment;
  await receive(callbackOf(payment), 'msg_1');
  expect(await statusOf(paymentId)).toBe('charged');
  expect(await shop.store.getEvents(paymentId)).toMatchObject([
    {
      eventType: 'payment.callback_received',
      aggregateType: 'payment',
      payload: { paymentId, orderId, outcome: 'completed', callbackId: 'msg_1' },
      metadata: { tenantId, correlationId: 'test' },
    },
  ]);
});

it('that comes twice, one after the other or at once, is one', async () => {
  const payment = await pending();
  const callbackId = newId();
  await Promise.all(Array.from({ length: 5 }, async () => await receive(callbackOf(payment), callbackId)));
  await receive(callbackOf(payment), callbackId);
  expect(await received(payment.paymentId)).toEqual(['completed']);
  expect(await captures(payment.paymentId)).toBe(1);
});

it('under the id of another one is a conflict and changes nothing', async () => {
  const [one, two] = [await pending(), await pending()];
  const callbackId = newId();
  await receive(callbackOf(one), callbackId);
  await expect(receive(callbackOf(two), callbackId)).rejects.toThrow(ConflictError);
  expect(await statusOf(two.paymentId)).toBe('pending');
  expect(await captures(two.paymentId)).toBe(0);
});

it('that is late, after the void, or after the refund, moves nothing and is on record', async () => {
  const [voided, refunded] = [await pending(), await pending()];
  await shop.gateway.cancel(voided.paymentId);
  await receive(callbackOf(refunded));
  await shop.gateway.refund(refunded.paymentId, { key: newId(), amount: 'all-held' });
  for (const payment of [voided, refunded]) await receive(callbackOf(payment));
  expect([await statusOf(voided.paymentId), await statusOf(refunded.paymentId)]).toEqual(['voided', 'refunded']);
  expect([await captures(voided.paymentId), await captures(refunded.paymentId)]).toEqual([0, 1]);
  expect(await received(voided.paymentId)).toEqual(['completed']);
  expect(await received(refunded.paymentId)).toEqual(['completed', 'completed']);
});

it('and those that contradict it, in any order and each twice, leave one decision and every word on record', async () => {
  const payment = await pending();
  const told = [
    ['msg_a', { outcome: 'failed', reason: 'the bank said no' }],
    ['msg_b', { outcome: 'completed' }],
    ['msg_a', { outcome: 'failed', reason: 'the bank said no' }],
    ['msg_b', { outcome: 'completed' }],
  ] as const;
  for (const [id, change] of told) await receive(callbackOf(payment, change), `${payment.paymentId}-${id}`);
  expect(await statusOf(payment.paymentId)).toBe('declined');
  expect(await captures(payment.paymentId)).toBe(0);
  expect(await received(payment.paymentId)).toEqual(['failed', 'completed']);
});

it('that does not fit its payment is refused, and nothing is recorded', async () => {
  const payment = await pending();
  expect(await refusalOf(receive(callbackOf(payment, { amount: 1 })))).toBe('payment-mismatch');
  expect(await received(payment.paymentId)).toEqual([]);
});

it.each([newId(), 'no uuid'])('for a payment that nobody knows (%s) is refused', async (paymentId) => {
  expect(await refusalOf(receive(callbackOf(await pending(), { paymentId })))).toBe('payment-not-found');
});
