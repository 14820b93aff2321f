// One transaction for a state change and its events: both commit, or neither does (G1).
import { setTimeout as sleep } from 'node:timers/promises';
import type { DomainEvent, StoredEvent } from '../domain/event.ts';
import { isRetryableTransaction, type Db, type Tx } from '../platform/database.ts';
import { isAppendedMeanwhile, type ExpectedVersion } from './append.ts';
import type { AggregateAppend, EventStore } from './event-store.ts';

export type UnitOfWork<E extends DomainEvent = DomainEvent> = Readonly<{
  tx: Tx;
  append(events: E | readonly E[], expectedVersion?: ExpectedVersion): Promise<readonly StoredEvent[]>;
  /** To several aggregates at once, which then lock in one order; see `EventStore.appendAll`. */
  appendAll(appends: readonly AggregateAppend<E>[]): Promise<readonly (readonly StoredEvent[])[]>;
}>;

/**
 * Runs `work` in one transaction and wakes the relay after the commit. `work` may be run again, from the start, when
 * the database reports a deadlock or a serialization failure, or when somebody else appended the same event at the same
 * time, so it must hold no effect outside the transaction.
 */
export type RunUnitOfWork<E extends DomainEvent = DomainEvent> = <T>(
  work: (unit: UnitOfWork<E>) => Promise<T>,
) => Promise<T>;

/** Deadlocks resolve at the first repeat; past a handful something else is wrong and the caller should know. */
const mostAttempts = 5;

export function createUnitOfWork(
  deps: Readonly<{ db: Db; store: EventStore; onCommitted: () => void }>,
): RunUnitOfWork {
  const { db, store, onCommitted } = deps;
  return async (work) => {
    for (let attempt = 1; ; attempt += 1) {
      let appended = false;
      try {
        const result = await db.transaction().execute(
          async (tx) =>
            await work({
              tx,
              append: async (events, expectedVersion = 'any') => {
                appended = true;
                return await store.append(events, { expectedVersion, tx });
              },
              appendAll: async (appends) => {
                appended = true;
                return await store.appendAll(appends, { tx });
              },
            }),
        );
        if (appended) onCommitted();
        return result;
      } catch (error) {
        const mayBeRunAgain = isRetryableTransaction(error) || isAppendedMeanwhile(error);
        if (attempt >= mostAttempts || !mayBeRunAgain) throw error;
        // A moment later, so that whoever won the lock is done with it by then.
        await sleep(Math.random() * 20 * attempt);
      }
    }
  };
}
