// A part or all of a payment goes back, and the goods if that was asked for; the order stays as it is.
import { proxyActivities } from '@temporalio/workflow';
import { refundPaymentSteps, type OrderActivities, type RefundPaymentInput } from '../src/domain/saga-contract.ts';
import { refusedRun } from './refused-run.ts';
import { Refusal, runSaga, untilItWorks } from './saga.ts';

const step = <K extends keyof OrderActivities>(name: K, summary: string): OrderActivities[K] =>
  proxyActivities<OrderActivities>({ ...untilItWorks, summary })[name];
const refundPaymentPart = step('refundPaymentPart', 'Refund the payment');
const restockOrder = step('restockOrder', 'Put the stock back');

/** COMPLETED, or FAILED with the gateway's refusal: then nothing was moved, and nothing is put back. Only forward. */
export async function refundPayment(input: RefundPaymentInput): Promise<{ status: 'refunded'; amount: number }> {
  const { orderId, paymentId, refundId, restock, reason, metadata } = input;
  const part = { orderId, paymentId, refundId, amount: input.amount, reason, metadata };
  const title = `Refund of payment ${paymentId}`;
  return await runSaga({ title, steps: refundPaymentSteps, forwardOnly: true }, async (saga) => {
    try {
      const amount = await saga.step('refund', { do: async () => await refundPaymentPart(part) });
      if (restock) await saga.step('restock', { do: async () => await restockOrder({ orderId, metadata }) });
      saga.finish('Confirmed', `${amount} refunded, in minor units`);
      return { status: 'refunded', amount };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      saga.finish('Failed', `${error.code}: ${error.message}`);
      throw refusedRun(error);
    }
  });
}
