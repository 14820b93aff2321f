// A confirmed order is cancelled: the money goes back, then the goods, then the order says so.
import { refundOrderPlan, type RefundOrderInput } from '../src/domain/saga-contract.ts';
import { parkingRecordsOf, steps } from './order-steps.ts';
import { runSaga } from './saga.ts';

/**
 * Only forward: past the confirmation nothing is undone, and each step is retried until it works, cancelled or not.
 * Money and goods may also have gone back by other means, as an operator says; the order's end is never skipped.
 */
export async function refundOrder(input: RefundOrderInput): Promise<{ status: 'cancelled' }> {
  const { orderId, metadata, reason, cancelledBy } = input;
  const options = {
    title: `Refund of order ${orderId}`,
    plan: refundOrderPlan,
    limits: input.limits ?? {},
    records: parkingRecordsOf({ orderId, metadata }),
  };
  return await runSaga(options, async (saga) => {
    const byHand = { byHand: true };
    const refund = { orderId, metadata, reason };
    await saga.retriable('refund', async (patience) => await steps.refundOrderPayment(patience)(refund), byHand);
    await saga.retriable('restock', async (patience) => await steps.restockOrder(patience)(refund), byHand);
    const end = { orderId, metadata, outcome: 'cancelled', reason, cancelledBy } as const;
    await saga.retriable('cancel', async (patience) => await steps.cancelRefundedOrder(patience)(end));
    saga.finish('Cancelled', 'refunded and cancelled');
    return { status: 'cancelled' };
  });
}
