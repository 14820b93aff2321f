// The ledger's own rules: what not even SQL written by hand can do to the money.
import { sql, type RawBuilder } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { paymentRequest } from '../../support/payment-gateway-contract.ts';
import { startShop, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());

const charged = async (): Promise<string> => {
  const { paymentId } = await shop.gateway.prepare(paymentRequest());
  await shop.gateway.capture(paymentId);
  return paymentId;
};
const voided = async (): Promise<string> => {
  const { paymentId } = await shop.gateway.prepare(paymentRequest());
  await shop.gateway.cancel(paymentId);
  return paymentId;
};
const declined = async (): Promise<string> => {
  const { paymentId } = await shop.gateway.prepare(paymentRequest({ method: 'pm_declined' }));
  await shop.gateway.capture(paymentId);
  return paymentId;
};
const pending = async (): Promise<string> => (await shop.gateway.prepare(paymentRequest())).paymentId;

const entry = (id: string, kind: string, amount: number, currency = 'EUR') => sql`
  insert into ledger_entries (payment_id, kind, debit_account, credit_account, amount, currency)
  values (${id}, ${kind}, 'a', 'b', ${amount}, ${currency})`;
const refund = (id: string, amount: number) => sql`
  insert into refunds (refund_id, payment_id, idempotency_key, amount) values (${newId()}, ${id}, ${newId()}, ${amount})`;
const set = (id: string, what: RawBuilder<unknown>) => sql`update payments set ${what} where payment_id = ${id}`;
/** A refund as the gateway books it, all three rows, of whatever amount. */
const wholeRefund = (id: string, amount: number, status: string) => [
  refund(id, amount),
  set(id, sql`refunded = refunded + ${amount}, status = ${status}`),
  entry(id, 'refund', amount),
];

/** Everything that the database holds of the payment. */
async function rowsOf(paymentId: string): Promise<unknown> {
  const { rows } = await sql`
    select (select to_jsonb(p) - 'updated_at' from payments p where payment_id = ${paymentId}) as payment,
      (select jsonb_agg(r order by refund_id) from refunds r where payment_id = ${paymentId}) as refunds,
      (select jsonb_agg(e order by entry_id) from ledger_entries e where payment_id = ${paymentId}) as entries
  `.execute(shop.db);
  return rows[0];
}

type Attack = (paymentId: string) => readonly RawBuilder<unknown>[];

async function expectRefused(paymentId: string, attack: Attack): Promise<void> {
  const before = await rowsOf(paymentId);
  const work = shop.db.transaction().execute(async (tx) => {
    for (const statement of attack(paymentId)) await statement.execute(tx);
  });
  await expect(work).rejects.toMatchObject({ code: expect.stringMatching(/^23/) as string });
  expect(await rowsOf(paymentId)).toEqual(before);
}

describe('a charged payment: the database refuses', () => {
  it.each<[string, Attack]>([
    ['a refund above what was captured, booked in full', (id) => wholeRefund(id, 3001, 'refunded')],
    [
      'two refunds that together exceed it',
      (id) => [...wholeRefund(id, 2000, 'charged'), ...wholeRefund(id, 2000, 'charged')],
    ],
    ['a refund entry above it', (id) => [entry(id, 'refund', 3001)]],
    ['a refund entry that the payment knows nothing of', (id) => [entry(id, 'refund', 1000)]],
    ['a refund that was never booked', (id) => [refund(id, 1000)]],
    ['a row that says refunded without an entry', (id) => [set(id, sql`refunded = amount, status = 'refunded'`)]],
    ['a refund above the charge in its row', (id) => [set(id, sql`refunded = amount + 1`)]],
    ['a refund below nothing', (id) => [set(id, sql`refunded = -1`)]],
    ['a second capture', (id) => [entry(id, 'capture', 3000)]],
    ['an entry of nothing', (id) => [entry(id, 'refund', 0)]],
    ['an entry below nothing', (id) => [entry(id, 'refund', -1)]],
    [
      'an entry in another currency',
      (id) => wholeRefund(id, 1000, 'charged').with(2, entry(id, 'refund', 1000, 'USD')),
    ],
    [
      'an entry from an account to itself',
      (id) => [
        sql`insert into ledger_entries (payment_id, kind, debit_account, credit_account, amount, currency)
            values (${id}, 'refund', 'a', 'a', 1, 'EUR')`,
      ],
    ],
    ['a way back to pending', (id) => [set(id, sql`status = 'pending'`)]],
    ['a void after the capture', (id) => [set(id, sql`status = 'voided'`)]],
    ['another amount', (id) => [set(id, sql`amount = 1`)]],
    ['another currency', (id) => [set(id, sql`currency = 'USD'`)]],
    ['another order', (id) => [set(id, sql`order_id = gen_random_uuid()`)]],
    ['another entry in the place of one', (id) => [sql`update ledger_entries set amount = 1 where payment_id = ${id}`]],
    ['the loss of an entry', (id) => [sql`delete from ledger_entries where payment_id = ${id}`]],
    ['the loss of all entries', () => [sql`truncate ledger_entries`]],
    ['another refund in the place of one', (id) => [sql`update refunds set amount = 1 where payment_id = ${id}`]],
    ['the loss of a refund', (id) => [sql`delete from refunds where payment_id = ${id}`]],
    ['the loss of the payment', (id) => [sql`delete from payments where payment_id = ${id}`]],
    [
      'a payment twice under one key',
      (id) => [
        sql`insert into payments (payment_id, tenant_id, order_id, idempotency_key, amount, currency, method, status)
            select gen_random_uuid(), tenant_id, order_id, idempotency_key, amount, currency, method, 'pending'
            from payments where payment_id = ${id}`,
      ],
    ],
  ])('%s', async (_, attack) => {
    await expectRefused(await charged(), attack);
  });

  it('many refunds at once by hand beyond what is held', async () => {
    const paymentId = await charged();
    const results = await Promise.allSettled(
      Array.from({ length: 6 }, async () =>
        shop.db.transaction().execute(async (tx) => {
          for (const statement of wholeRefund(paymentId, 1000, 'charged').toReversed()) await statement.execute(tx);
        }),
      ),
    );
    // The third would have to say `refunded`, as nothing is held after it.
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
    expect(await shop.gateway.get(paymentId)).toMatchObject({ status: 'charged', refunded: 2000 });
  });
});

describe.each([
  ['voided', voided],
  ['declined', declined],
] as const)('a %s payment: the database refuses', (_, make) => {
  it.each<[string, Attack]>([
    ['a capture, booked in full', (id) => [set(id, sql`status = 'charged'`), entry(id, 'capture', 3000)]],
    ['a capture entry', (id) => [entry(id, 'capture', 3000)]],
    ['a way back to pending', (id) => [set(id, sql`status = 'pending'`)]],
    ['a refund', (id) => wholeRefund(id, 1, 'refunded')],
  ])('%s', async (__, attack) => {
    await expectRefused(await make(), attack);
  });
});

describe('a pending payment: the database refuses', () => {
  it.each<[string, Attack]>([
    ['a capture entry without the charge', (id) => [entry(id, 'capture', 3000)]],
    ['a charge without its entry', (id) => [set(id, sql`status = 'charged'`)]],
    ['a capture of another amount', (id) => [set(id, sql`status = 'charged'`), entry(id, 'capture', 2999)]],
    ['a capture in another currency', (id) => [set(id, sql`status = 'charged'`), entry(id, 'capture', 3000, 'USD')]],
    ['a refund of what was never charged', (id) => [set(id, sql`refunded = 1`)]],
    ['its loss, and with it the tombstone', (id) => [sql`delete from payments where payment_id = ${id}`]],
  ])('%s', async (_, attack) => {
    await expectRefused(await pending(), attack);
  });
});
