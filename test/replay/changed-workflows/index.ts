// An order saga as somebody might change it carelessly: it charges before it reserves. Replays must catch it.
import { proxyActivities } from '@temporalio/workflow';
import type { OrderActivities, OrderSagaInput, RefundOrderInput } from '../../../src/domain/saga-contract.ts';

const steps = proxyActivities<OrderActivities>({ startToCloseTimeout: '10 seconds' });

export async function orderSaga(input: OrderSagaInput): Promise<void> {
  const { orderId, metadata } = input;
  await steps.chargePayment({
    orderId,
    metadata,
    amount: input.total,
    currency: input.currency,
    method: input.paymentMethod,
  });
}

export async function refundOrder(input: RefundOrderInput): Promise<void> {
  await steps.restockOrder({ orderId: input.orderId, metadata: input.metadata });
}
