// The built-in gateway, as a provider behaves: test methods, tombstones, refunds, callbacks; books that balance.
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ConflictError, DomainError, UnavailableError } from '../../../src/domain/errors.ts';
import { newId } from '../../../src/domain/ids.ts';
import { listPayments } from '../../../src/payments/ledger-rows.ts';
import { createPaymentCallbacks } from '../../../src/payments/payment-callbacks.ts';
import type { Payment, PaymentCallback, PaymentRequest } from '../../../src/payments/payment-gateway.ts';
import { metadata, startShop, tenantId, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());
beforeEach(async () => void (await sql`truncate ledger_entries, refunds, payments`.execute(shop.db)));

const request = (change: Partial<PaymentRequest> = {}): PaymentRequest => ({
  key: newId(),
  tenantId,
  orderId: newId(),
  amount: 3000,
  currency: 'EUR',
  method: 'pm_ok',
  ...change,
});
const prepare = async (change: Partial<PaymentRequest> = {}): Promise<Payment> =>
  await shop.gateway.prepare(request(change));
const charged = async (change: Partial<PaymentRequest> = {}): Promise<Payment> =>
  await shop.gateway.capture((await prepare(change)).paymentId);

type Books = Readonly<{ captures: number; refunds: number; held: number }>;
async function books(paymentId: string): Promise<Books> {
  const { rows } = await sql<Books>`
    select count(*) filter (where kind = 'capture')::int as captures,
           count(*) filter (where kind = 'refund')::int as refunds,
           coalesce(sum(case kind when 'capture' then amount else -amount end), 0)::int as held
    from ledger_entries where payment_id = ${paymentId}`.execute(shop.db);
  return rows[0] ?? { captures: -1, refunds: -1, held: -1 };
}
const untouched = { captures: 0, refunds: 0, held: 0 };

async function refusalOf(work: Promise<unknown>): Promise<string> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DomainError);
  return (error as DomainError).code;
}

/** After every test: accounts sum to zero, and what the ledger holds is what the payments' rows say. */
afterEach(async () => {
  const { rows: accounts } = await sql<{ sum: number }>`
    select coalesce(sum(amount), 0)::int as sum from (
      select debit_account as account, -amount as amount from ledger_entries
      union all select credit_account, amount from ledger_entries) as sides`.execute(shop.db);
  expect(accounts).toEqual([{ sum: 0 }]);
  const { rows: differing } = await sql`
    select payment_id from payments left join (
      select payment_id, sum(case kind when 'capture' then amount else -amount end) as held
      from ledger_entries group by 1) as ledger using (payment_id)
    where coalesce(ledger.held, 0)
      <> case when status in ('charged', 'refunded') then payments.amount - refunded else 0 end`.execute(shop.db);
  expect(differing).toEqual([]);
});

describe('preparing', () => {
  it('makes an intent and moves nothing', async () => {
    const asked = request();
    const payment = await shop.gateway.prepare(asked);
    const { key: _, ...rest } = asked;
    expect(payment).toEqual({
      ...rest,
      paymentId: payment.paymentId,
      status: 'pending',
      refunded: 0,
      reason: undefined,
    });
    expect(await books(payment.paymentId)).toEqual(untouched);
    expect(await shop.gateway.get(payment.paymentId)).toEqual(payment);
  });

  it('again under its key is the same payment, also many times at once', async () => {
    const asked = request();
    const payments = await Promise.all(Array.from({ length: 8 }, async () => await shop.gateway.prepare(asked)));
    expect(new Set(payments.map((payment) => payment.paymentId)).size).toBe(1);
    const again = await shop.gateway.prepare(asked);
    expect(again.paymentId).toBe(payments[0]?.paymentId);
  });

  it('again after the capture answers with what is the case by now', async () => {
    const asked = request();
    await charged(asked);
    expect(await shop.gateway.prepare(asked)).toMatchObject({ status: 'charged' });
  });

  it.each([{ amount: 1 }, { currency: 'USD' }])('of another sum under the same key is refused: %o', async (change) => {
    const asked = request();
    await shop.gateway.prepare(asked);
    expect(await refusalOf(shop.gateway.prepare({ ...asked, ...change }))).toBe('payment-mismatch');
  });

  it('in a currency that is not supported is refused before anything exists', async () => {
    const asked = request({ currency: 'ISK' });
    expect(await refusalOf(shop.gateway.prepare(asked))).toBe('currency-not-supported');
    expect(await listPayments(shop.db, tenantId, asked.orderId)).toEqual([]);
  });
});

describe('capturing', () => {
  it('with pm_ok charges the whole amount', async () => {
    const payment = await charged();
    expect(payment).toMatchObject({ status: 'charged', amount: 3000, refunded: 0 });
    expect(await books(payment.paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
  });

  it('with pm_declined charges nothing and says why', async () => {
    const payment = await charged({ method: 'pm_declined' });
    expect(payment).toMatchObject({ status: 'declined', reason: expect.stringContaining('pm_declined') as string });
    expect(await books(payment.paymentId)).toEqual(untouched);
  });

  it('with a method that nobody knows is declined', async () => {
    const payment = await charged({ method: 'pm_seashells' });
    expect(payment).toMatchObject({ status: 'declined', reason: expect.stringContaining('not known') as string });
  });

  it('with pm_pending leaves the decision to the callback', async () => {
    const payment = await charged({ method: 'pm_pending' });
    expect(payment).toMatchObject({ status: 'pending' });
    expect(await books(payment.paymentId)).toEqual(untouched);
  });

  it('with pm_timeout charges and loses the answer, which get then gives', async () => {
    const { paymentId } = await prepare({ method: 'pm_timeout' });
    const error: unknown = await shop.gateway.capture(paymentId).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UnavailableError);
    expect(error).toMatchObject({ outcomeUnknown: true });
    expect(await shop.gateway.get(paymentId)).toMatchObject({ status: 'charged' });
    expect(await shop.gateway.capture(paymentId)).toMatchObject({ status: 'charged' });
    expect(await books(paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
  });

  it('with pm_flaky fails twice, known to have done nothing, and then works', async () => {
    const { paymentId } = await prepare({ method: 'pm_flaky' });
    for (let n = 0; n < 2; n += 1) {
      const error: unknown = await shop.gateway.capture(paymentId).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(UnavailableError);
      expect(error).toMatchObject({ outcomeUnknown: false });
      expect(await books(paymentId)).toEqual(untouched);
    }
    expect(await shop.gateway.capture(paymentId)).toMatchObject({ status: 'charged' });
  });

  it('twice, one after the other or at once, charges once', async () => {
    const { paymentId } = await charged();
    await shop.gateway.capture(paymentId);
    await Promise.all(Array.from({ length: 5 }, async () => await shop.gateway.capture(paymentId)));
    expect(await books(paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
  });

  it('of nothing to pay is charged without an entry', async () => {
    const payment = await charged({ amount: 0 });
    expect(payment.status).toBe('charged');
    expect(await books(payment.paymentId)).toEqual(untouched);
  });

  it('of a payment that nobody knows is refused', async () => {
    expect(await refusalOf(shop.gateway.capture(newId()))).toBe('payment-not-found');
    expect(await shop.gateway.get(newId())).toBeUndefined();
  });
});

describe('cancelling', () => {
  it('voids an intent for good: no capture and no callback moves money after it', async () => {
    const { paymentId, orderId } = await prepare();
    expect(await shop.gateway.cancel(paymentId)).toMatchObject({ status: 'voided' });
    expect(await shop.gateway.cancel(paymentId)).toMatchObject({ status: 'voided' });
    expect(await shop.gateway.capture(paymentId)).toMatchObject({ status: 'voided' });
    const callback = {
      paymentId,
      orderId,
      outcome: 'completed',
      amount: 3000,
      currency: 'EUR',
      reason: undefined,
    } as const;
    await shop.db.transaction().execute(async (tx) => await shop.gateway.acceptCallback(tx, callback));
    expect(await shop.gateway.get(paymentId)).toMatchObject({ status: 'voided' });
    expect(await books(paymentId)).toEqual(untouched);
  });

  it('of what was captured leaves it charged', async () => {
    const { paymentId } = await charged();
    expect(await shop.gateway.cancel(paymentId)).toMatchObject({ status: 'charged' });
    expect(await books(paymentId)).toMatchObject({ held: 3000 });
  });

  it('at the same time as the capture ends as one of the two, and the books agree', async () => {
    for (let n = 0; n < 10; n += 1) {
      const { paymentId } = await prepare();
      const [captured, cancelled] = await Promise.all([
        shop.gateway.capture(paymentId),
        shop.gateway.cancel(paymentId),
      ]);
      expect(captured.status).toBe(cancelled.status);
      expect(await books(paymentId)).toMatchObject({ held: captured.status === 'charged' ? 3000 : 0 });
    }
  });
});

describe('refunding', () => {
  const refund = async (paymentId: string, amount: number, key = newId()): Promise<Payment> =>
    await shop.gateway.refund(paymentId, { key, amount });

  it('gives a part back, and then the rest', async () => {
    const { paymentId } = await charged();
    expect(await refund(paymentId, 1000)).toMatchObject({ status: 'charged', refunded: 1000 });
    expect(await refund(paymentId, 2000)).toMatchObject({ status: 'refunded', refunded: 3000 });
    expect(await books(paymentId)).toEqual({ captures: 1, refunds: 2, held: 0 });
  });

  it('happens once per key, one after the other or at once', async () => {
    const { paymentId } = await charged();
    const key = newId();
    await refund(paymentId, 1000, key);
    await Promise.all(Array.from({ length: 5 }, async () => await refund(paymentId, 1000, key)));
    expect(await books(paymentId)).toEqual({ captures: 1, refunds: 1, held: 2000 });
  });

  it('again under its key is a success also when everything is given back', async () => {
    const { paymentId } = await charged();
    const key = newId();
    await refund(paymentId, 3000, key);
    expect(await refund(paymentId, 3000, key)).toMatchObject({ status: 'refunded', refunded: 3000 });
  });

  it('under a key that stands for another refund is refused', async () => {
    const [one, two] = [await charged(), await charged()];
    const key = newId();
    await refund(one.paymentId, 1000, key);
    expect(await refusalOf(refund(one.paymentId, 1001, key))).toBe('payment-mismatch');
    expect(await refusalOf(refund(two.paymentId, 1000, key))).toBe('payment-mismatch');
    expect(await books(two.paymentId)).toMatchObject({ held: 3000 });
  });

  it('never gives back more than is held, also not by many at once', async () => {
    const { paymentId } = await charged();
    expect(await refusalOf(refund(paymentId, 3001))).toBe('refund-exceeds-held');
    const results = await Promise.allSettled(Array.from({ length: 8 }, async () => await refund(paymentId, 1000)));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(3);
    expect(await books(paymentId)).toEqual({ captures: 1, refunds: 3, held: 0 });
  });

  it.each(['pm_declined', 'pm_pending'])('of what was not charged (%s) is refused', async (method) => {
    const { paymentId } = await charged({ method });
    expect(await refusalOf(refund(paymentId, 1))).toBe('payment-closed');
  });

  it('of a negative amount is impossible', async () => {
    const { paymentId } = await charged();
    await refund(paymentId, 1000);
    await expect(refund(paymentId, -500)).rejects.toThrow();
    expect(await books(paymentId)).toMatchObject({ held: 2000 });
  });
});

describe('a callback', () => {
  const said = (payment: Payment, change: Partial<PaymentCallback> = {}): PaymentCallback => ({
    outcome: 'completed',
    paymentId: payment.paymentId,
    orderId: payment.orderId,
    amount: payment.amount,
    currency: payment.currency,
    reason: undefined,
    ...change,
  });
  const receive = async (callback: PaymentCallback, callbackId: string = newId()): Promise<void> =>
    await createPaymentCallbacks(shop).receive(callbackId, callback, { correlationId: 'test' });
  const received = async (paymentId: string): Promise<readonly unknown[]> =>
    (await shop.store.getEvents(paymentId)).map((event) => (event.payload as { outcome: string }).outcome);

  it('charges a payment that waits for it, and says so in an event for its order', async () => {
    const payment = await charged({ method: 'pm_pending' });
    await receive(said(payment), 'msg_1');
    expect(await shop.gateway.get(payment.paymentId)).toMatchObject({ status: 'charged' });
    expect(await books(payment.paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
    expect(await shop.store.getEvents(payment.paymentId)).toMatchObject([
      {
        eventType: 'payment.callback_received',
        aggregateType: 'payment',
        payload: {
          paymentId: payment.paymentId,
          orderId: payment.orderId,
          outcome: 'completed',
          callbackId: 'msg_1',
        },
        metadata: { tenantId, correlationId: 'test' },
      },
    ]);
  });

  it('that says failed declines it, with its reason or one of ours', async () => {
    const [one, two] = [await charged({ method: 'pm_pending' }), await charged({ method: 'pm_pending' })];
    await receive(said(one, { outcome: 'failed', reason: 'the bank said no' }));
    await receive(said(two, { outcome: 'failed' }));
    expect(await shop.gateway.get(one.paymentId)).toMatchObject({ status: 'declined', reason: 'the bank said no' });
    expect(await shop.gateway.get(two.paymentId)).toMatchObject({ status: 'declined', reason: 'the payment failed' });
    expect(await books(one.paymentId)).toEqual(untouched);
  });

  it('that is early, before the capture, is kept, and the capture then finds it', async () => {
    const payment = await prepare({ method: 'pm_pending' });
    await receive(said(payment));
    expect(await shop.gateway.capture(payment.paymentId)).toMatchObject({ status: 'charged' });
    expect(await books(payment.paymentId)).toEqual({ captures: 1, refunds: 0, held: 3000 });
  });

  it('that is late, after the void, moves nothing and is on record', async () => {
    const payment = await charged({ method: 'pm_pending' });
    await shop.gateway.cancel(payment.paymentId);
    await receive(said(payment));
    expect(await shop.gateway.get(payment.paymentId)).toMatchObject({ status: 'voided' });
    expect(await books(payment.paymentId)).toEqual(untouched);
    expect(await received(payment.paymentId)).toEqual(['completed']);
  });

  it('that comes twice, one after the other or at once, is one', async () => {
    const payment = await charged({ method: 'pm_pending' });
    const callbackId = newId();
    await Promise.all(Array.from({ length: 5 }, async () => await receive(said(payment), callbackId)));
    await receive(said(payment), callbackId);
    expect(await received(payment.paymentId)).toEqual(['completed']);
    expect(await books(payment.paymentId)).toMatchObject({ captures: 1 });
  });

  it('under the id of another one is a conflict and changes nothing', async () => {
    const [one, two] = [await charged({ method: 'pm_pending' }), await charged({ method: 'pm_pending' })];
    const callbackId = newId();
    await receive(said(one), callbackId);
    await expect(receive(said(two), callbackId)).rejects.toThrow(ConflictError);
    expect(await shop.gateway.get(two.paymentId)).toMatchObject({ status: 'pending' });
    expect(await books(two.paymentId)).toEqual(untouched);
  });

  it('that contradicts an earlier one changes nothing that is decided', async () => {
    const payment = await charged({ method: 'pm_pending' });
    await receive(said(payment));
    await receive(said(payment, { outcome: 'failed' }));
    expect(await shop.gateway.get(payment.paymentId)).toMatchObject({ status: 'charged' });
    expect(await received(payment.paymentId)).toEqual(['completed', 'failed']);
  });

  it.each<[string, Partial<PaymentCallback>]>([
    ['orderId', { orderId: newId() }],
    ['amount', { amount: 1 }],
    ['currency', { currency: 'USD' }],
  ])('that does not match in its %s is refused by that field', async (field, change) => {
    const payment = await charged({ method: 'pm_pending' });
    await expect(receive(said(payment, change))).rejects.toMatchObject({ code: 'payment-mismatch', field });
    expect(await shop.gateway.get(payment.paymentId)).toMatchObject({ status: 'pending' });
    expect(await received(payment.paymentId)).toEqual([]);
  });

  it.each([newId(), 'no uuid'])('for a payment that nobody knows (%s) is refused', async (paymentId) => {
    const payment = await prepare();
    expect(await refusalOf(receive(said(payment, { paymentId })))).toBe('payment-not-found');
  });
});

describe('the database', () => {
  it.each([
    ['a refund above the charge', sql`update payments set refunded = amount + 1`],
    ['a refund below nothing', sql`update payments set refunded = -1`],
    ['a refund of what was never charged', sql`update payments set status = 'pending', refunded = 1`],
    [
      'a second capture',
      sql`insert into ledger_entries (payment_id, kind, debit_account, credit_account, amount, currency)
          select payment_id, 'capture', 'a', 'b', 1, 'EUR' from payments`,
    ],
    [
      'an entry from an account to itself',
      sql`insert into ledger_entries (payment_id, kind, debit_account, credit_account, amount, currency)
          select payment_id, 'refund', 'a', 'a', 1, 'EUR' from payments`,
    ],
    [
      'an entry of nothing',
      sql`insert into ledger_entries (payment_id, kind, debit_account, credit_account, amount, currency)
          select payment_id, 'refund', 'a', 'b', 0, 'EUR' from payments`,
    ],
    [
      'a payment twice under one key',
      sql`insert into payments (payment_id, tenant_id, order_id, idempotency_key, amount, currency, method, status)
          select gen_random_uuid(), tenant_id, order_id, idempotency_key, amount, currency, method, 'pending'
          from payments`,
    ],
  ])('itself refuses %s', async (_, statement) => {
    await charged();
    await expect(statement.execute(shop.db)).rejects.toThrow(/violates/);
  });
});

describe('the payments of an order', () => {
  it('are listed in their order, for their tenant', async () => {
    const orderId = newId();
    const first = await charged({ orderId, method: 'pm_declined' });
    const second = await charged({ orderId });
    expect((await listPayments(shop.db, tenantId, orderId)).map((payment) => payment.paymentId)).toEqual([
      first.paymentId,
      second.paymentId,
    ]);
    expect(await listPayments(shop.db, 'acme', orderId)).toEqual([]);
    expect(metadata.tenantId).toBe(tenantId);
  });
});
