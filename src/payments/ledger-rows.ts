// The ledger's rows. Each movement is one row with a debit and a credit account, so the books always balance.
import { sql } from 'kysely';
import { DomainError } from '../domain/errors.ts';
import { derivedId } from '../domain/ids.ts';
import type { Queryable, Tx } from '../platform/database.ts';
import type { Payment, RefundRequest } from './payment-gateway.ts';

const selectPayment = (db: Queryable, paymentId: string) =>
  db.selectFrom('payments').selectAll().where('payment_id', '=', paymentId);
export type PaymentRow = Awaited<ReturnType<ReturnType<typeof selectPayment>['executeTakeFirstOrThrow']>>;

export async function findPayment(db: Queryable, paymentId: string): Promise<Payment | undefined> {
  const row = await selectPayment(db, paymentId).executeTakeFirst();
  return row === undefined ? undefined : toPayment(row);
}

export async function listPayments(db: Queryable, tenantId: string, orderId: string): Promise<readonly Payment[]> {
  const rows = await db
    .selectFrom('payments')
    .selectAll()
    .where('tenant_id', '=', tenantId)
    .where('order_id', '=', orderId)
    .orderBy('created_at')
    .execute();
  return rows.map(toPayment);
}

/** @throws DomainError `payment-not-found` */
export async function lockPayment(tx: Tx, paymentId: string): Promise<PaymentRow> {
  const row = await selectPayment(tx, paymentId).forUpdate().executeTakeFirst();
  if (row === undefined) throw new DomainError('payment-not-found', `there is no payment ${paymentId}`, 'paymentId');
  return row;
}

const customerAccount = (row: PaymentRow): string => `customer:${row.payment_id}`;
const merchantAccount = (row: PaymentRow): string => `merchant:${row.tenant_id}`;

export async function bookCapture(tx: Tx, row: PaymentRow): Promise<void> {
  await tx
    .updateTable('payments')
    .set({ status: 'charged', updated_at: sql<Date>`now()` })
    .where('payment_id', '=', row.payment_id)
    .execute();
  if (row.amount === 0) return;
  await tx
    .insertInto('ledger_entries')
    .values({
      payment_id: row.payment_id,
      kind: 'capture',
      debit_account: customerAccount(row),
      credit_account: merchantAccount(row),
      amount: row.amount,
      currency: row.currency,
    })
    .execute();
}

/**
 * Once per key.
 * @returns what was given back under the key, now or before
 * @throws DomainError `payment-closed` where nothing was charged, `refund-exceeds-held`, and `payment-mismatch` where
 * the key stands for another refund
 */
export async function bookRefund(tx: Tx, row: PaymentRow, { key, amount: asked }: RefundRequest): Promise<number> {
  const known = await tx.selectFrom('refunds').selectAll().where('idempotency_key', '=', key).executeTakeFirst();
  if (known !== undefined) {
    const same = known.payment_id === row.payment_id && (asked === 'all-held' || known.amount === asked);
    if (same) return known.amount;
    throw new DomainError('payment-mismatch', `key ${key} stands for another refund`, 'amount');
  }
  if (row.status !== 'charged' && row.status !== 'refunded') {
    throw new DomainError('payment-closed', `payment ${row.payment_id} is ${row.status}: there is nothing to refund`);
  }
  const held = row.amount - row.refunded;
  const amount = asked === 'all-held' ? held : asked;
  if (amount > held) throw new DomainError('refund-exceeds-held', `only ${held} of ${row.amount} is held`, 'amount');
  if (row.status === 'refunded') return 0;
  await writeRefund(tx, row, key, amount);
  return amount;
}

async function writeRefund(tx: Tx, row: PaymentRow, key: string, amount: number): Promise<void> {
  const refunded = row.refunded + amount;
  await tx
    .insertInto('refunds')
    .values({ refund_id: derivedId('refund', key), payment_id: row.payment_id, idempotency_key: key, amount })
    .execute();
  await tx
    .updateTable('payments')
    .set({ refunded, status: refunded === row.amount ? 'refunded' : 'charged', updated_at: sql<Date>`now()` })
    .where('payment_id', '=', row.payment_id)
    .execute();
  if (amount === 0) return;
  await tx
    .insertInto('ledger_entries')
    .values({
      payment_id: row.payment_id,
      kind: 'refund',
      debit_account: merchantAccount(row),
      credit_account: customerAccount(row),
      amount,
      currency: row.currency,
    })
    .execute();
}

/**
 * Money that the gateway did not move: whoever settled it by other means says so, and it counts as given back. An
 * intent that was never captured is voided. A late refund, or capture, then finds the payment closed.
 */
export async function bookSettlement(tx: Tx, row: PaymentRow, reference: string): Promise<void> {
  const held = row.status === 'charged' ? row.amount - row.refunded : 0;
  const closed = { charged: 'refunded', pending: 'voided' } as const;
  const status = row.status === 'charged' || row.status === 'pending' ? closed[row.status] : row.status;
  await tx
    .updateTable('payments')
    .set({ status, refunded: row.refunded + held, settled_by_hand: reference, updated_at: sql<Date>`now()` })
    .where('payment_id', '=', row.payment_id)
    .execute();
  if (held === 0) return;
  await tx
    .insertInto('ledger_entries')
    .values({
      payment_id: row.payment_id,
      kind: 'settlement',
      debit_account: merchantAccount(row),
      credit_account: customerAccount(row),
      amount: held,
      currency: row.currency,
      reference,
    })
    .execute();
}

/** Nothing moves; what is held stays held, and the reference says why. */
export async function explainPayment(tx: Tx, row: PaymentRow, reference: string): Promise<void> {
  await tx
    .updateTable('payments')
    .set({ settled_by_hand: reference, updated_at: sql<Date>`now()` })
    .where('payment_id', '=', row.payment_id)
    .execute();
}

function toPayment(row: PaymentRow): Payment {
  return {
    paymentId: row.payment_id,
    orderId: row.order_id,
    tenantId: row.tenant_id,
    status: row.status,
    amount: row.amount,
    refunded: row.refunded,
    currency: row.currency,
    method: row.method,
    reason: row.reason ?? undefined,
  };
}
