// How far a subscription is behind what is committed, seen by readers of the log or not yet.
import { listSubscriptions } from '../../src/event-store/subscription-list.ts';
import type { Db } from '../../src/platform/database.ts';

/** In events; undefined before its first run. */
export async function lagOf(db: Db, name: string): Promise<number | undefined> {
  return (await listSubscriptions(db)).find((each) => each.name === name)?.lag;
}
