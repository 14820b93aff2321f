// The built-in gateway: intents and a ledger in PostgreSQL, with test payment methods as providers have them. It
// commits on its own, as a provider across the network would: its effects stand whatever becomes of the caller.
import { sql } from 'kysely';
import { DomainError, UnavailableError } from '../domain/errors.ts';
import { derivedId } from '../domain/ids.ts';
import type { Db, Queryable, Tx } from '../platform/database.ts';
import { bookCapture, bookRefund, findPayment, lockPayment, type PaymentRow } from './ledger-rows.ts';
import type { Payment, PaymentGateway } from './payment-gateway.ts';

const supportedCurrencies = new Set([
  'AUD',
  'CAD',
  'CHF',
  'CZK',
  'DKK',
  'EUR',
  'GBP',
  'JPY',
  'NOK',
  'PLN',
  'SEK',
  'USD',
]);
/** `pm_flaky` fails this often and then works. */
const flakyFailures = 2;

export const paymentIdOf = (key: string): string => derivedId('payment', key);

export function createLedgerGateway(db: Db): PaymentGateway {
  const locked = async <T>(paymentId: string, work: (tx: Tx, row: PaymentRow) => Promise<T>): Promise<T> =>
    await db.transaction().execute(async (tx) => await work(tx, await lockPayment(tx, paymentId)));

  return {
    async prepare({ key, tenantId, orderId, amount, currency, method }) {
      if (!supportedCurrencies.has(currency)) {
        throw new DomainError('currency-not-supported', `payments in ${currency} are not supported`, 'currency');
      }
      const paymentId = paymentIdOf(key);
      await db
        .insertInto('payments')
        .values({
          payment_id: paymentId,
          tenant_id: tenantId,
          order_id: orderId,
          idempotency_key: key,
          amount,
          currency,
          method,
          status: 'pending',
          reason: null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .execute();
      const payment = await existing(db, paymentId);
      if (payment.amount !== amount || payment.currency !== currency) {
        throw new DomainError('payment-mismatch', `key ${key} stands for another amount`, 'amount');
      }
      return payment;
    },

    async capture(paymentId) {
      const { payment, answer } = await locked(paymentId, capture);
      if (answer === 'lost') {
        throw new UnavailableError(`no answer to the capture of ${paymentId}`, { outcomeUnknown: true });
      }
      if (answer === 'unavailable') throw new UnavailableError(`the capture of ${paymentId} failed; try again`);
      return payment;
    },

    cancel: async (paymentId) =>
      await locked(paymentId, async (tx, row) => {
        if (row.status === 'pending') await setStatus(tx, paymentId, 'voided');
        return await existing(tx, paymentId);
      }),

    refund: async (paymentId, refund) =>
      await locked(paymentId, async (tx, row) => {
        const amount = await bookRefund(tx, row, refund);
        return { amount, payment: await existing(tx, paymentId) };
      }),

    get: async (paymentId) => await findPayment(db, paymentId),

    async acceptCallback(tx, { paymentId, orderId, amount, currency, outcome, reason }) {
      const row = await lockPayment(tx, paymentId);
      if (row.order_id !== orderId) throw mismatch('orderId', paymentId, row.order_id, orderId);
      if (row.amount !== amount) throw mismatch('amount', paymentId, row.amount, amount);
      if (row.currency !== currency) throw mismatch('currency', paymentId, row.currency, currency);
      if (row.status === 'pending' && outcome === 'completed') await bookCapture(tx, row);
      if (row.status === 'pending' && outcome === 'failed') {
        await setStatus(tx, paymentId, 'declined', reason ?? 'the payment failed');
      }
      return await existing(tx, paymentId);
    },
  };
}

type Captured = Readonly<{ payment: Payment; answer: 'given' | 'lost' | 'unavailable' }>;

async function capture(tx: Tx, row: PaymentRow): Promise<Captured> {
  const attempt = row.capture_attempts + 1;
  await tx
    .updateTable('payments')
    .set({ capture_attempts: attempt })
    .where('payment_id', '=', row.payment_id)
    .execute();
  let answer: Captured['answer'] = 'given';
  if (row.status === 'pending') {
    switch (row.method) {
      case 'pm_ok':
        await bookCapture(tx, row);
        break;
      case 'pm_timeout':
        await bookCapture(tx, row);
        answer = 'lost';
        break;
      case 'pm_flaky':
        if (attempt <= flakyFailures) answer = 'unavailable';
        else await bookCapture(tx, row);
        break;
      case 'pm_pending':
        break;
      case 'pm_declined':
        await setStatus(tx, row.payment_id, 'declined', 'the payment method pm_declined was declined');
        break;
      default:
        await setStatus(tx, row.payment_id, 'declined', `the payment method ${row.method} is not known`);
    }
  }
  return { payment: await existing(tx, row.payment_id), answer };
}

async function setStatus(tx: Tx, paymentId: string, status: 'voided' | 'declined', reason?: string): Promise<void> {
  await tx
    .updateTable('payments')
    .set({ status, reason: reason ?? null, updated_at: sql<Date>`now()` })
    .where('payment_id', '=', paymentId)
    .execute();
}

async function existing(db: Queryable, paymentId: string): Promise<Payment> {
  const payment = await findPayment(db, paymentId);
  if (payment === undefined) throw new Error(`payment ${paymentId} vanished`);
  return payment;
}

function mismatch(field: string, paymentId: string, known: unknown, given: unknown): DomainError {
  return new DomainError(
    'payment-mismatch',
    `${field} of payment ${paymentId} is ${String(known)}, not ${String(given)}`,
    field,
  );
}
