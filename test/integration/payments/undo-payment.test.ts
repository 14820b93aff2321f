// The undo of a charge, its step alone: of a charge that never happened, and of one that comes later than its undo.
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createOrderActivities } from '../../../activities/order-activities.ts';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId, type ChargeInput, type OrderActivities } from '../../../src/domain/saga-contract.ts';
import { listPayments } from '../../../src/payments/ledger-rows.ts';
import type { PaymentGateway } from '../../../src/payments/payment-gateway.ts';
import { metadata, startShop, tenantId, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());

async function toBeCharged(currency = 'EUR'): Promise<ChargeInput> {
  const items = [{ productId: 'lamp', quantity: 1, price: 1500 }];
  const { state } = await shop.commands.create({ customerId: 'c', currency, paymentMethod: 'pm_ok', items }, metadata);
  await shop.commands.submit(state.orderId, metadata);
  return { orderId: state.orderId, metadata, amount: 1500, currency, method: 'pm_ok' };
}

async function step(name: 'chargePayment' | 'undoPayment', input: ChargeInput, gateway: PaymentGateway = shop.gateway) {
  const activities: OrderActivities = createOrderActivities({ ...shop, gateway });
  const workflowExecution = { workflowId: orderSagaId(input.orderId), runId: newId() };
  const environment = new MockActivityEnvironment({ workflowExecution });
  await environment.run(activities[name], { ...input, reason: 'the order was not confirmed' });
}

async function moved({ orderId }: ChargeInput) {
  const [payment] = await listPayments(shop.db, tenantId, orderId);
  const events = payment === undefined ? [] : await shop.store.getEvents(payment.paymentId);
  const row = await shop.db
    .selectFrom('saga_steps')
    .select('state')
    .where('workflow_id', '=', orderSagaId(orderId))
    .where('step', '=', 'charge')
    .executeTakeFirst();
  return {
    status: payment?.status,
    refunded: payment?.refunded,
    events: events.map(({ eventType }) => eventType),
    step: row?.state,
  };
}

it('of a charge that never happened leaves a tombstone: a charge that comes late moves nothing', async () => {
  const input = await toBeCharged();
  const nothing = { status: 'voided', refunded: 0, events: ['payment.voided'], step: 'undone' };
  await step('undoPayment', input);
  expect(await moved(input)).toEqual(nothing);
  await expect(step('chargePayment', input)).rejects.toMatchObject({ type: 'payment-closed' });
  expect(await moved(input)).toEqual(nothing);
});

it('of a charge that no gateway would have taken has nothing to do', async () => {
  const input = await toBeCharged('ISK');
  await step('undoPayment', input);
  expect(await moved(input)).toEqual({ status: undefined, refunded: undefined, events: [], step: 'undone' });
});

it('that is overtaken by a late charge gives it back', async () => {
  const input = await toBeCharged();
  // An attempt that was given up on gets through between the undo's own two calls.
  const overtaken: PaymentGateway = {
    ...shop.gateway,
    cancel: async (paymentId) => {
      await step('chargePayment', input);
      return await shop.gateway.cancel(paymentId);
    },
  };
  await step('undoPayment', input, overtaken);
  const events = ['payment.completed', 'payment.refunded'];
  expect(await moved(input)).toEqual({ status: 'refunded', refunded: 1500, events, step: 'undone' });
});

it('again, after its answer was lost, gives back nothing more and says nothing twice', async () => {
  const input = await toBeCharged();
  await step('chargePayment', input);
  await step('undoPayment', input);
  const once = await moved(input);
  await step('undoPayment', input);
  expect(await moved(input)).toEqual(once);
  expect(once).toMatchObject({ status: 'refunded', events: ['payment.completed', 'payment.refunded'] });
});
