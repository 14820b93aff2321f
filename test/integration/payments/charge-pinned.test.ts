// The charge against what the order was submitted with: its step alone, with an input or a gateway that says otherwise.
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOrderActivities } from '../../../activities/order-activities.ts';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId, type ChargeInput, type ChargeResult } from '../../../src/domain/saga-contract.ts';
import { listPayments } from '../../../src/payments/ledger-rows.ts';
import type { PaymentGateway } from '../../../src/payments/payment-gateway.ts';
import { metadata, startShop, tenantId, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());

async function submitted(): Promise<ChargeInput> {
  const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];
  const input = { customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok', items };
  const { orderId } = (await shop.commands.create(input, metadata)).state;
  await shop.commands.submit(orderId, metadata);
  return { orderId, metadata, amount: 3000, currency: 'EUR', method: 'pm_ok' };
}

async function charge(input: ChargeInput, gateway: PaymentGateway = shop.gateway): Promise<ChargeResult> {
  const { chargePayment } = createOrderActivities({ ...shop, gateway });
  const workflowExecution = { workflowId: orderSagaId(input.orderId), runId: newId() };
  return (await new MockActivityEnvironment({ workflowExecution }).run(chargePayment, input)) as ChargeResult;
}
const paymentsOf = async (orderId: string): Promise<readonly unknown[]> =>
  (await listPayments(shop.db, tenantId, orderId)).map(({ status, amount, currency }) => ({
    status,
    amount,
    currency,
  }));

it('a charge of what was submitted is made', async () => {
  const input = await submitted();
  expect(await charge(input)).toMatchObject({ status: 'charged' });
  expect(await paymentsOf(input.orderId)).toEqual([{ status: 'charged', amount: 3000, currency: 'EUR' }]);
});

describe('a charge is refused before an intent exists', () => {
  it.each([
    ['in another currency', { currency: 'USD' }, 'payment-mismatch'],
    ['of less', { amount: 2999 }, 'payment-mismatch'],
    ['of more', { amount: 3001 }, 'payment-mismatch'],
    ['for an order that nobody submitted', { orderId: newId() }, 'order-not-submitted'],
  ])('%s', async (_, change, type) => {
    const input = { ...(await submitted()), ...change };
    await expect(charge(input)).rejects.toMatchObject({ type, nonRetryable: true });
    expect(await paymentsOf(input.orderId)).toEqual([]);
  });
});

it.each([{ currency: 'USD' }, { amount: 30 }])(
  'a gateway that makes another intent than it was asked for (%o) charges nothing, then or later',
  async (change) => {
    const input = await submitted();
    const gateway: PaymentGateway = {
      ...shop.gateway,
      prepare: async (request) => await shop.gateway.prepare({ ...request, ...change }),
    };
    await expect(charge(input, gateway)).rejects.toMatchObject({ type: 'payment-mismatch', nonRetryable: true });
    const [payment] = await listPayments(shop.db, tenantId, input.orderId);
    expect(payment).toMatchObject({ status: 'voided', ...change });
    expect(await shop.gateway.capture(payment?.paymentId ?? '')).toMatchObject({ status: 'voided' });
  },
);
