// The deadline of a pending payment, on the time-skipping server: quarter of an hour in a moment, nothing else faked.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { orderSagaId } from '../../src/domain/saga-contract.ts';
import { delivered } from '../../src/outbox/delivery.ts';
import { callback, eventTypes, type SagaService } from '../support/saga-service.ts';
import { startTimeSkippingService, type TimeSkippingService } from '../support/time-skipping-service.ts';

let test: TimeSkippingService;
let environment: TestWorkflowEnvironment;
let service: SagaService;
beforeAll(async () => {
  test = await startTimeSkippingService();
  ({ environment, service } = test);
  await service.stock(5);
});
afterAll(async () => await test.stop());

const paymentOf = async (orderId: string) =>
  await service.parts.db
    .selectFrom('payments')
    .select(['payment_id', 'status'])
    .where('order_id', '=', orderId)
    .executeTakeFirstOrThrow();

describe('a payment that stays pending', () => {
  it('is voided at its deadline, the order fails, and a callback that comes after it moves nothing', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    expect(await test.deliver(orderId, 'order.submitted')).toEqual(delivered);
    const before = await environment.currentTimeMs();
    await expect(environment.client.workflow.result(orderSagaId(orderId))).rejects.toMatchObject({
      cause: { type: 'payment-deadline-passed' },
    });
    expect((await environment.currentTimeMs()) - before).toBeGreaterThanOrEqual(900_000);
    expect(await service.order(orderId)).toMatchObject({
      status: 'failed',
      failureReason: expect.stringMatching(/^payment-deadline-passed/) as string,
    });
    const { payment_id: paymentId, status } = await paymentOf(orderId);
    expect(status).toBe('voided');
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    expect(await service.ledger(orderId)).toEqual({ onHand: 5, reserved: 0, net: 0, captures: 0, refunds: 0 });
    expect(await eventTypes(service, paymentId)).toEqual(['payment.voided', 'payment.callback_received']);
  });
});
