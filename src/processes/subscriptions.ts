// The read models that catch-up subscriptions keep; run where the relay runs. Several processes may: one holds each.
import { runSubscription } from '../event-store/subscription-loop.ts';
import { createSubscription, type Subscription } from '../event-store/subscription.ts';
import { productSalesSubscription } from '../orders/product-sales.ts';
import type { Running } from '../platform/lifecycle.ts';
import type { Parts } from './parts.ts';

const subscriptions: readonly Subscription[] = [productSalesSubscription];

export function startSubscriptions({ db, store, wakeUp, logger }: Parts): Running {
  const loops = subscriptions.map((subscription) =>
    runSubscription(createSubscription({ db, store }, subscription), {
      logger: logger.child({ subscription: subscription.name }),
      wait: async (milliseconds, signal) => await wakeUp.wait(milliseconds, signal, wakeUp.mark()),
    }),
  );
  return { stop: async () => void (await Promise.all(loops.map(async (loop) => await loop.stop()))) };
}
