// A confirmed order is cancelled: the money goes back, then the goods, then the order says so.
import { proxyActivities } from '@temporalio/workflow';
import { refundOrderSteps, type OrderActivities, type RefundOrderInput } from '../src/domain/saga-contract.ts';
import { runSaga, untilItWorks } from './saga.ts';

const step = <K extends keyof OrderActivities>(name: K, summary: string): OrderActivities[K] =>
  proxyActivities<OrderActivities>({ ...untilItWorks, summary })[name];
const refundOrderPayment = step('refundOrderPayment', 'Refund what is held');
const restockOrder = step('restockOrder', 'Put the stock back');
const cancelRefundedOrder = step('cancelRefundedOrder', "Write the order's end");

/** Only forward: past the confirmation nothing is undone, and each step is retried until it works, cancelled or not. */
export async function refundOrder(input: RefundOrderInput): Promise<{ status: 'cancelled' }> {
  const { orderId, metadata, reason, cancelledBy } = input;
  return await runSaga(
    { title: `Refund of order ${orderId}`, steps: refundOrderSteps, forwardOnly: true },
    async (saga) => {
      await saga.step('refund', { do: async () => await refundOrderPayment({ orderId, metadata, reason }) });
      await saga.step('restock', { do: async () => await restockOrder({ orderId, metadata }) });
      await saga.step('cancel', {
        do: async () => await cancelRefundedOrder({ orderId, metadata, outcome: 'cancelled', reason, cancelledBy }),
      });
      saga.finish('Cancelled', 'refunded and cancelled');
      return { status: 'cancelled' };
    },
  );
}
