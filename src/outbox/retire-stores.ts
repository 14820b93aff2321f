// When a destination is delivered to without a store in between: what its stores may still hold is delivered again.
import type { Db } from '../platform/database.ts';
import { redeliverSince, type PutBack } from './redeliver-since.ts';

/**
 * Before the first delivery. Afterwards nothing stays in the outbox for the stores' sake, and a store that is used again
 * begins as at its first time. Whoever dies in the middle leaves it to the next caller.
 */
export async function retireStores(db: Db, destination: string): Promise<PutBack> {
  const stores = await db
    .selectFrom('delivery_epochs')
    .select('store')
    .where('destination', '=', destination)
    .execute();
  let total: PutBack = { published: 0, claimed: 0 };
  for (const { store } of stores) {
    const { published, claimed } = await redeliverSince(db, {
      destination,
      store,
      beforeBatch: async () => await Promise.resolve(),
    });
    await db.deleteFrom('delivery_epochs').where('destination', '=', destination).where('store', '=', store).execute();
    total = { published: total.published + published, claimed: total.claimed + claimed };
  }
  return total;
}
