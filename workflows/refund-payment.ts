// A part or all of a payment goes back, and the goods if that was asked for; the order stays as it is.
import { refundPaymentPlan, type RefundPaymentInput } from '../src/domain/saga-contract.ts';
import { parkingRecordsOf, steps } from './order-steps.ts';
import { refusedRun } from './refused-run.ts';
import { Refusal } from './saga-outcomes.ts';
import { runSaga } from './saga.ts';

/** COMPLETED, or FAILED with the gateway's refusal: then nothing was moved, and nothing is put back. Only forward. */
export async function refundPayment(input: RefundPaymentInput): Promise<{ status: 'refunded'; amount: number }> {
  const { orderId, paymentId, refundId, restock, reason, metadata } = input;
  const part = { orderId, paymentId, refundId, amount: input.amount, reason, metadata };
  const options = {
    title: `Refund of payment ${paymentId}`,
    plan: refundPaymentPlan,
    limits: input.limits ?? {},
    records: parkingRecordsOf({ orderId, metadata }),
  };
  return await runSaga(options, async (saga) => {
    try {
      const amount = await saga.pivot('refund', async (patience) => await steps.refundPaymentPart(patience)(part));
      const goods = { orderId, metadata };
      if (restock) {
        await saga.retriable('restock', async (patience) => await steps.restockOrder(patience)(goods), {
          byHand: true,
        });
      }
      saga.finish('Confirmed', `${amount} refunded, in minor units`);
      return { status: 'refunded', amount };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      saga.finish('Failed', `${error.code}: ${error.message}`);
      throw refusedRun(error);
    }
  });
}
