// What every payment gateway promises to the sagas. One suite, run on each adapter; money is judged by the provider's own
// books, never by what a call has answered.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DomainError, UnavailableError } from '../../src/domain/errors.ts';
import { newId } from '../../src/domain/ids.ts';
import type {
  Payment,
  PaymentCallback,
  PaymentGateway,
  PaymentRequest,
  PaymentStatus,
  Refund,
} from '../../src/payments/payment-gateway.ts';
import type { Db } from '../../src/platform/database.ts';

/** The provider's books of one payment, in minor units. */
export type PaymentBooks = Readonly<{ captures: number; refunds: number; held: number }>;

export type GatewayUnderTest = Readonly<{
  gateway: PaymentGateway;
  db: Db;
  booksOf(paymentId: string): Promise<PaymentBooks>;
  /** Payment methods of the provider's test mode, by what becomes of their capture. */
  methods: Readonly<{ charged: string; declined: string; pending: string; answerLost: string; failsFirst: string }>;
  unsupportedCurrency: string;
  stop(): Promise<void>;
}>;

export const untouched: PaymentBooks = { captures: 0, refunds: 0, held: 0 };

export const paymentRequest = (change: Partial<PaymentRequest> = {}): PaymentRequest => ({
  key: newId(),
  tenantId: 'default',
  orderId: newId(),
  amount: 3000,
  currency: 'EUR',
  method: 'pm_ok',
  ...change,
});

export const callbackOf = (payment: Payment, change: Partial<PaymentCallback> = {}): PaymentCallback => ({
  outcome: 'completed',
  paymentId: payment.paymentId,
  orderId: payment.orderId,
  amount: payment.amount,
  currency: payment.currency,
  reason: undefined,
  ...change,
});

export async function refusalOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DomainError);
  return (error as DomainError).code;
}

/** The error of a call that got no answer. */
async function silenceOf(work: Promise<unknown>): Promise<unknown> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(UnavailableError);
  return error;
}

const times = async <T>(count: number, call: () => Promise<T>): Promise<T[]> =>
  await Promise.all(Array.from({ length: count }, call));

export function paymentGatewayContract(name: string, start: () => Promise<GatewayUnderTest>): void {
  describe(`${name}: the contract of the payment gateway`, () => {
    let test: GatewayUnderTest;
    let gateway: PaymentGateway;
    beforeAll(async () => {
      test = await start();
      ({ gateway } = test);
    });
    afterAll(async () => await test.stop());

    const request = (change: Partial<PaymentRequest> = {}): PaymentRequest =>
      paymentRequest({ method: test.methods.charged, ...change });
    const prepared = async (change: Partial<PaymentRequest> = {}): Promise<Payment> =>
      await gateway.prepare(request(change));
    const captured = async (change: Partial<PaymentRequest> = {}): Promise<Payment> =>
      await gateway.capture((await prepared(change)).paymentId);
    const pending = async (): Promise<Payment> => await captured({ method: test.methods.pending });
    const books = async (paymentId: string): Promise<PaymentBooks> => await test.booksOf(paymentId);
    const statusOf = async (paymentId: string): Promise<PaymentStatus | undefined> =>
      (await gateway.get(paymentId))?.status;
    const refund = async (paymentId: string, amount: number | 'all-held', key: string = newId()): Promise<Refund> =>
      await gateway.refund(paymentId, { key, amount });
    const receive = async (callback: PaymentCallback): Promise<Payment> =>
      await test.db.transaction().execute(async (tx) => await gateway.acceptCallback(tx, callback));

    describe('preparing', () => {
      it('makes an intent and moves nothing', async () => {
        const { key: _, ...rest } = request();
        const payment = await gateway.prepare({ ...rest, key: newId() });
        const { paymentId } = payment;
        expect(payment).toEqual({ ...rest, paymentId, status: 'pending', refunded: 0, reason: undefined });
        expect(await books(paymentId)).toEqual(untouched);
        expect(await gateway.get(paymentId)).toEqual(payment);
      });

      it('again under its key is the same payment, also many times at once', async () => {
        const asked = request();
        const payments = await times(8, async () => await gateway.prepare(asked));
        payments.push(await gateway.prepare(asked));
        expect(new Set(payments.map((payment) => payment.paymentId)).size).toBe(1);
      });

      it('again after the capture answers with what is the case by now', async () => {
        const asked = request();
        await captured(asked);
        expect(await gateway.prepare(asked)).toMatchObject({ status: 'charged' });
      });

      it.each([{ amount: 1 }, { currency: 'USD' }])(
        'of another sum under the same key is refused: %o',
        async (change) => {
          const asked = request();
          await gateway.prepare(asked);
          expect(await refusalOf(gateway.prepare({ ...asked, ...change }))).toBe('payment-mismatch');
        },
      );

      it('in a currency that is not supported is refused before anything exists', async () => {
        const asked = request({ currency: test.unsupportedCurrency });
        expect(await refusalOf(gateway.prepare(asked))).toBe('currency-not-supported');
        // The key is still free.
        expect(await gateway.prepare({ ...asked, currency: 'EUR' })).toMatchObject({ currency: 'EUR' });
      });
    });

    describe('capturing', () => {
      it('charges the whole amount', async () => {
        const payment = await captured();
        expect(payment).toMatchObject({ status: 'charged', amount: 3000, refunded: 0 });
        expect(await books(payment.paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
      });

      it('twice, one after the other or at once, charges once', async () => {
        const { paymentId } = await captured();
        await gateway.capture(paymentId);
        await times(5, async () => await gateway.capture(paymentId));
        expect(await books(paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
      });

      it('what is declined charges nothing, says why, and stays declined', async () => {
        const payment = await captured({ method: test.methods.declined });
        expect(payment).toMatchObject({ status: 'declined', reason: expect.stringMatching(/./) as string });
        expect(await gateway.capture(payment.paymentId)).toMatchObject({ status: 'declined' });
        expect(await gateway.cancel(payment.paymentId)).toMatchObject({ status: 'declined' });
        expect(await books(payment.paymentId)).toEqual(untouched);
      });

      it('may leave the decision to the callback', async () => {
        const payment = await pending();
        expect(payment).toMatchObject({ status: 'pending' });
        expect(await books(payment.paymentId)).toEqual(untouched);
      });

      it('whose answer is lost says that its outcome is not known, and get then tells it', async () => {
        const { paymentId } = await prepared({ method: test.methods.answerLost });
        expect(await silenceOf(gateway.capture(paymentId))).toMatchObject({ outcomeUnknown: true });
        expect(await statusOf(paymentId)).toBe('charged');
        expect(await gateway.capture(paymentId)).toMatchObject({ status: 'charged' });
        expect(await books(paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
      });

      it('that fails without effect says so, and works when it is repeated', async () => {
        const { paymentId } = await prepared({ method: test.methods.failsFirst });
        expect(await silenceOf(gateway.capture(paymentId))).toMatchObject({ outcomeUnknown: false });
        expect(await books(paymentId)).toEqual(untouched);
        for (let attempt = 0; (await statusOf(paymentId)) === 'pending' && attempt < 5; attempt += 1) {
          await gateway.capture(paymentId).catch(() => undefined);
        }
        expect(await statusOf(paymentId)).toBe('charged');
        expect(await books(paymentId)).toMatchObject({ captures: 1, held: 3000 });
      });

      it('of nothing to pay is charged without an entry', async () => {
        const payment = await captured({ amount: 0 });
        expect(payment.status).toBe('charged');
        expect(await books(payment.paymentId)).toEqual(untouched);
      });

      it('or anything else, of a payment that nobody knows, is refused', async () => {
        expect(await gateway.get(newId())).toBeUndefined();
        expect(await refusalOf(gateway.capture(newId()))).toBe('payment-not-found');
        expect(await refusalOf(gateway.cancel(newId()))).toBe('payment-not-found');
        expect(await refusalOf(refund(newId(), 1))).toBe('payment-not-found');
      });
    });

    describe('cancelling', () => {
      it('voids an intent for good: no capture and no callback moves money after it', async () => {
        const payment = await prepared();
        const { paymentId } = payment;
        expect(await gateway.cancel(paymentId)).toMatchObject({ status: 'voided' });
        expect(await gateway.cancel(paymentId)).toMatchObject({ status: 'voided' });
        expect(await gateway.capture(paymentId)).toMatchObject({ status: 'voided' });
        expect(await receive(callbackOf(payment))).toMatchObject({ status: 'voided' });
        expect(await statusOf(paymentId)).toBe('voided');
        expect(await books(paymentId)).toEqual(untouched);
      });

      it('voids what waits for its callback, too', async () => {
        const payment = await pending();
        expect(await gateway.cancel(payment.paymentId)).toMatchObject({ status: 'voided' });
        await receive(callbackOf(payment));
        expect(await statusOf(payment.paymentId)).toBe('voided');
        expect(await books(payment.paymentId)).toEqual(untouched);
      });

      it('leaves what was captured charged', async () => {
        const { paymentId } = await captured();
        expect(await gateway.cancel(paymentId)).toMatchObject({ status: 'charged' });
        expect(await books(paymentId)).toMatchObject({ held: 3000 });
      });

      it('at the same time as the capture ends as one of the two, and the books agree', async () => {
        for (let n = 0; n < 10; n += 1) {
          const { paymentId } = await prepared();
          const [one, other] = await Promise.all([gateway.capture(paymentId), gateway.cancel(paymentId)]);
          expect(one.status).toBe(other.status);
          expect(await books(paymentId)).toMatchObject({ held: one.status === 'charged' ? 3000 : 0 });
        }
      });
    });

    describe('refunding', () => {
      it('gives a part back, and then the rest', async () => {
        const { paymentId } = await captured();
        expect(await refund(paymentId, 1000)).toMatchObject({
          amount: 1000,
          payment: { status: 'charged', refunded: 1000 },
        });
        expect(await refund(paymentId, 2000)).toMatchObject({ payment: { status: 'refunded', refunded: 3000 } });
        expect(await books(paymentId)).toEqual({ captures: 1, refunds: 2, held: 0 });
      });

      it('of all that is held says how much that was, also when it is repeated', async () => {
        const { paymentId } = await captured();
        await refund(paymentId, 1000);
        const key = newId();
        expect(await refund(paymentId, 'all-held', key)).toMatchObject({ amount: 2000 });
        expect(await refund(paymentId, 'all-held', key)).toMatchObject({ amount: 2000 });
        expect(await refund(paymentId, 'all-held')).toMatchObject({ amount: 0, payment: { status: 'refunded' } });
        expect(await books(paymentId)).toEqual({ captures: 1, refunds: 2, held: 0 });
      });

      it('happens once per key, one after the other or at once', async () => {
        const { paymentId } = await captured();
        const key = newId();
        await refund(paymentId, 1000, key);
        await times(5, async () => await refund(paymentId, 1000, key));
        expect(await books(paymentId)).toEqual({ captures: 1, refunds: 1, held: 2000 });
      });

      it('again under its key is a success also when everything is given back', async () => {
        const { paymentId } = await captured();
        const key = newId();
        await refund(paymentId, 3000, key);
        expect(await refund(paymentId, 3000, key)).toMatchObject({ amount: 3000, payment: { status: 'refunded' } });
      });

      it('under a key that stands for another refund is refused', async () => {
        const [one, two] = [await captured(), await captured()];
        const key = newId();
        await refund(one.paymentId, 1000, key);
        expect(await refusalOf(refund(one.paymentId, 1001, key))).toBe('payment-mismatch');
        expect(await refusalOf(refund(two.paymentId, 1000, key))).toBe('payment-mismatch');
        expect(await books(two.paymentId)).toMatchObject({ held: 3000 });
      });

      it('never gives back more than is held, also not by many at once', async () => {
        const { paymentId } = await captured();
        expect(await refusalOf(refund(paymentId, 3001))).toBe('refund-exceeds-held');
        const results = await Promise.allSettled(Array.from({ length: 8 }, async () => await refund(paymentId, 1000)));
        expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(3);
        expect(await refusalOf(refund(paymentId, 1))).toBe('refund-exceeds-held');
        expect(await books(paymentId)).toEqual({ captures: 1, refunds: 3, held: 0 });
      });

      it.each(['declined', 'pending'] as const)('of what was not charged (%s) is refused', async (kind) => {
        const { paymentId } = await captured({ method: test.methods[kind] });
        expect(await refusalOf(refund(paymentId, 1))).toBe('payment-closed');
        expect(await refusalOf(refund(paymentId, 'all-held'))).toBe('payment-closed');
      });

      it('of a negative amount is impossible', async () => {
        const { paymentId } = await captured();
        await refund(paymentId, 1000);
        await expect(refund(paymentId, -500)).rejects.toThrow();
        expect(await books(paymentId)).toMatchObject({ held: 2000 });
      });
    });

    describe('a callback', () => {
      it('decides a payment that waits for it, once', async () => {
        const [good, bad] = [await pending(), await pending()];
        await receive(callbackOf(good));
        await receive(callbackOf(good));
        await receive(callbackOf(bad, { outcome: 'failed', reason: 'the bank said no' }));
        expect(await statusOf(good.paymentId)).toBe('charged');
        expect(await books(good.paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
        expect(await gateway.get(bad.paymentId)).toMatchObject({ status: 'declined', reason: 'the bank said no' });
        expect(await books(bad.paymentId)).toEqual(untouched);
      });

      it('that is early, before the capture, is kept, and the capture then finds it', async () => {
        const payment = await prepared({ method: test.methods.pending });
        await receive(callbackOf(payment));
        expect(await gateway.capture(payment.paymentId)).toMatchObject({ status: 'charged' });
        expect(await books(payment.paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
      });

      it.each(['completed', 'failed'] as const)('that says %s after the refund moves nothing', async (outcome) => {
        const payment = await pending();
        await receive(callbackOf(payment));
        await refund(payment.paymentId, 'all-held');
        expect(await receive(callbackOf(payment, { outcome }))).toMatchObject({ status: 'refunded' });
        expect(await books(payment.paymentId)).toEqual({ captures: 1, refunds: 1, held: 0 });
      });

      it('that contradicts an earlier one changes nothing that is decided', async () => {
        const payment = await pending();
        await receive(callbackOf(payment));
        await receive(callbackOf(payment, { outcome: 'failed' }));
        expect(await statusOf(payment.paymentId)).toBe('charged');
      });

      it('is undone with the transaction that took it', async () => {
        const payment = await pending();
        const rolledBack = test.db.transaction().execute(async (tx) => {
          await gateway.acceptCallback(tx, callbackOf(payment));
          throw new Error('the event could not be stored');
        });
        await expect(rolledBack).rejects.toThrow('could not be stored');
        expect(await statusOf(payment.paymentId)).toBe('pending');
        expect(await books(payment.paymentId)).toEqual(untouched);
      });

      it.each<[string, Partial<PaymentCallback>]>([
        ['orderId', { orderId: newId() }],
        ['amount', { amount: 1 }],
        ['currency', { currency: 'USD' }],
      ])('that does not match in its %s is refused by that field', async (field, change) => {
        const payment = await pending();
        await expect(receive(callbackOf(payment, change))).rejects.toMatchObject({ code: 'payment-mismatch', field });
        expect(await statusOf(payment.paymentId)).toBe('pending');
      });
    });
  });
}
