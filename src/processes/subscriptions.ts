// The read models that catch-up subscriptions keep; run where the relay runs. Several processes may: one holds each.
import { runSubscription } from '../event-store/subscription-loop.ts';
import { createSubscription, type Subscription } from '../event-store/subscription.ts';
import { productSalesSubscription } from '../orders/product-sales.ts';
import type { Running } from '../platform/lifecycle.ts';
import { extendSubscriptions } from './extension.ts';
import type { Parts } from './parts.ts';

/** The service's own. Never rename one: its checkpoint is found by its name. */
export const subscriptions: readonly Subscription[] = [productSalesSubscription];

export type RunningSubscriptions = Running & Readonly<{ loops: Readonly<Record<string, LoopWithAge>> }>;
type LoopWithAge = Readonly<{ loopAgeMilliseconds(): number | undefined }>;

/** @throws StartupError where an extension's has the name of another one */
export function startSubscriptions({ db, store, wakeUp, logger, extensions }: Parts): RunningSubscriptions {
  const loops = extendSubscriptions(subscriptions, extensions).map((subscription) => ({
    name: subscription.name,
    loop: runSubscription(createSubscription({ db, store }, subscription), {
      logger: logger.child({ subscription: subscription.name }),
      wakeUp,
    }),
  }));
  return {
    loops: Object.fromEntries(
      loops.map(({ name, loop }) => [name, { loopAgeMilliseconds: () => loop.ageMilliseconds() }]),
    ),
    stop: async () => void (await Promise.all(loops.map(async ({ loop }) => await loop.stop()))),
  };
}
