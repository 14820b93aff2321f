// A confirmed order is cancelled: the money goes back, then the goods, then the order says so.
import { proxyActivities } from '@temporalio/workflow';
import { refundOrderSteps, type OrderActivities, type RefundOrderInput } from '../src/domain/saga-contract.ts';
import { runSaga } from './saga.ts';

const retry = { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '10s' } as const;
const { refundOrderPayment } = proxyActivities<Pick<OrderActivities, 'refundOrderPayment'>>({
  startToCloseTimeout: '10 seconds',
  retry,
  summary: 'Refund what is held',
});
const { restockOrder } = proxyActivities<Pick<OrderActivities, 'restockOrder'>>({
  startToCloseTimeout: '10 seconds',
  retry,
  summary: 'Put the stock back',
});
const { cancelRefundedOrder } = proxyActivities<Pick<OrderActivities, 'cancelRefundedOrder'>>({
  startToCloseTimeout: '10 seconds',
  retry,
  summary: "Write the order's end",
});

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
