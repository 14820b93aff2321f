// The built-in gateway: the contract of every gateway, its test methods, and books that balance.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { newId } from '../../../src/domain/ids.ts';
import { listPayments } from '../../../src/payments/ledger-rows.ts';
import type { Payment, PaymentRequest } from '../../../src/payments/payment-gateway.ts';
import {
  paymentGatewayContract,
  paymentRequest,
  untouched,
  type PaymentBooks,
} from '../../support/payment-gateway-contract.ts';
import { metadata, startShop, tenantId, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
/** At the end: accounts sum to zero, and what the ledger holds is what the payments' rows say. */
afterAll(async () => {
  const { rows: accounts } = await sql<{ sum: number }>`
    select coalesce(sum(amount), 0)::int as sum from (
      select debit_account as account, -amount as amount from ledger_entries
      union all select credit_account, amount from ledger_entries) as sides`.execute(shop.db);
  const { rows: differing } = await sql`
    select payment_id from payments left join (
      select payment_id, sum(case kind when 'capture' then amount else -amount end) as held
      from ledger_entries group by 1) as ledger using (payment_id)
    where coalesce(ledger.held, 0)
      <> case when status in ('charged', 'refunded') then payments.amount - refunded else 0 end`.execute(shop.db);
  await shop.stop();
  expect(accounts).toEqual([{ sum: 0 }]);
  expect(differing).toEqual([]);
});

async function booksOf(paymentId: string): Promise<PaymentBooks> {
  const { rows } = await sql<PaymentBooks>`
    select count(*) filter (where kind = 'capture')::int as captures,
           count(*) filter (where kind = 'refund')::int as refunds,
           coalesce(sum(case kind when 'capture' then amount else -amount end), 0)::int as held
    from ledger_entries where payment_id = ${paymentId}`.execute(shop.db);
  return rows[0] ?? { captures: -1, refunds: -1, held: -1 };
}

paymentGatewayContract('the ledger', async () => ({
  gateway: shop.gateway,
  db: shop.db,
  booksOf,
  methods: {
    charged: 'pm_ok',
    declined: 'pm_declined',
    pending: 'pm_pending',
    answerLost: 'pm_timeout',
    failsFirst: 'pm_flaky',
  },
  unsupportedCurrency: 'ISK',
  stop: async () => {},
}));

const prepare = async (change: Partial<PaymentRequest> = {}): Promise<Payment> =>
  await shop.gateway.prepare(paymentRequest(change));
const charged = async (change: Partial<PaymentRequest> = {}): Promise<Payment> =>
  await shop.gateway.capture((await prepare(change)).paymentId);

describe('the test methods', () => {
  it('pm_declined is named in the reason', async () => {
    expect((await charged({ method: 'pm_declined' })).reason).toContain('pm_declined');
  });

  it('one that nobody knows is declined', async () => {
    const payment = await charged({ method: 'pm_seashells' });
    expect(payment).toMatchObject({ status: 'declined', reason: expect.stringContaining('not known') as string });
  });

  it('pm_flaky fails twice, known to have done nothing, and then works', async () => {
    const { paymentId } = await prepare({ method: 'pm_flaky' });
    for (let n = 0; n < 2; n += 1) {
      const error: unknown = await shop.gateway.capture(paymentId).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(UnavailableError);
      expect(await booksOf(paymentId)).toEqual(untouched);
    }
    expect(await shop.gateway.capture(paymentId)).toMatchObject({ status: 'charged' });
  });

  it('a payment that fails by callback without a reason gets one of ours', async () => {
    const { paymentId, orderId, amount, currency } = await charged({ method: 'pm_pending' });
    const callback = { outcome: 'failed', paymentId, orderId, amount, currency, reason: undefined } as const;
    await shop.db.transaction().execute(async (tx) => await shop.gateway.acceptCallback(tx, callback));
    expect(await shop.gateway.get(paymentId)).toMatchObject({ status: 'declined', reason: 'the payment failed' });
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
