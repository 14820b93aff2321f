// The runs that refund payments of an order: there may be several, each of a part.
import type { Db } from '../platform/database.ts';
import { refundPaymentId } from '../domain/saga-contract.ts';

/** In the order of their starts; a page shows no more. */
const most = 50;

/** @returns their workflow ids, of those that have a row in `saga_starts` */
export async function refundRunsOf(db: Db, orderId: string): Promise<readonly string[]> {
  const payments = await db.selectFrom('payments').select('payment_id').where('order_id', '=', orderId).execute();
  if (payments.length === 0) return [];
  const runs = await db
    .selectFrom('saga_starts')
    .select('workflow_id')
    .where((eb) =>
      eb.or(
        payments.map(({ payment_id: paymentId }) => eb('workflow_id', 'like', `${refundPaymentId(paymentId, '')}%`)),
      ),
    )
    .orderBy('created_at')
    .orderBy('workflow_id')
    .limit(most)
    .execute();
  return runs.map(({ workflow_id: workflowId }) => workflowId);
}
