// `Prefer: wait=N` on a submit: the answer is held back until the order has ended.
import { setTimeout as sleep } from 'node:timers/promises';
import type { OrderQueries, OrderView } from '../orders/order-queries.ts';
import { isDatabaseUnavailable } from '../platform/database.ts';

/** One small read by primary key; a person does not notice a tenth of a second. */
const pollMilliseconds = 100;

const hasEnded = ({ status }: OrderView): boolean => status !== 'draft' && status !== 'submitted';

/**
 * @returns the order, or undefined where it has not ended within `seconds` or `giveUp` aborts. A database that is
 * away for a moment ends nothing: the order was submitted, and that is what counts.
 */
export async function waitForEnd(
  orders: OrderQueries,
  of: Readonly<{ tenantId: string; orderId: string }>,
  wait: Readonly<{ seconds: number; giveUp: AbortSignal }>,
): Promise<OrderView | undefined> {
  const until = performance.now() + wait.seconds * 1000;
  for (;;) {
    const order = await orders.findOrder(of.tenantId, of.orderId).catch((error: unknown) => {
      if (isDatabaseUnavailable(error)) return undefined;
      throw error;
    });
    if (order !== undefined && hasEnded(order)) return order;
    const left = until - performance.now();
    if (left <= 0 || wait.giveUp.aborted) return undefined;
    await sleep(Math.min(pollMilliseconds, left), undefined, { signal: wait.giveUp }).catch(() => undefined);
  }
}
