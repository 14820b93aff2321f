// What a comparison finds, and what every comparison is given.
import type { EventContext } from '../domain/event.ts';
import { commandContext } from '../domain/ids.ts';

export type DifferenceKind =
  | 'charge-doubled'
  | 'charge-held'
  | 'dead-letter'
  | 'delivery-missing'
  | 'ledger'
  | 'needs-attention'
  | 'order-row'
  | 'payment-event-missing'
  | 'payment-open'
  | 'refund-gone'
  | 'reservation-expired'
  | 'reservation-held'
  | 'reservation-state'
  | 'saga-gone'
  | 'stock-counter'
  | 'verification-gone';

/** `over`: it is none any more, somebody else was faster or it was only under way. `left`: it must not be mended now. */
export type Mended = 'mended' | 'over' | 'left';

export type Difference = Readonly<{
  kind: DifferenceKind;
  ids: Readonly<Record<string, string>>;
  /** What is the case. */
  is: string;
  /** What would be right. */
  right: string;
  /**
   * Only where it is safe without a person. Looks again first, and where it writes, under the lock of what it changes;
   * may be repeated, and ended at any point, after which the next one finishes it.
   */
  mend?: () => Promise<Mended>;
}>;

export type Scope = Readonly<{
  /** What is younger may be under way, and is no difference. */
  graceSeconds: number;
  /** Undefined: everything. */
  sinceHours: number | undefined;
  /** Between two pages. @throws where the reconciliation has been told to stop */
  onPage: () => void;
}>;

/**
 * Reads its rows in pages, by key, and holds no transaction while it asks Temporal.
 * @throws UnavailableError where Temporal or the gateway is away: it is then not compared, or not to its end
 */
export type Comparison = (scope: Scope) => AsyncIterable<Difference>;

/** All rows of a query that takes the last key of the page before and answers in the order of the key. */
export async function* inPages<T extends Readonly<{ key: string }>>(
  scope: Scope,
  first: string,
  read: (after: string, limit: number) => Promise<readonly T[]>,
): AsyncGenerator<readonly T[], void, undefined> {
  const limit = 200;
  for (let after = first; ;) {
    scope.onPage();
    const page = await read(after, limit);
    if (page.length > 0) yield page;
    const last = page.at(-1);
    if (last === undefined || page.length < limit) return;
    after = last.key;
  }
}

/** Sorts before every id. */
export const beforeAllIds = '00000000-0000-0000-0000-000000000000';

/** For events that a repair writes: fresh ids, since each is written with the change that makes it true. */
export const reconcileContext = (tenantId: string): EventContext => commandContext({ tenantId, userId: 'reconcile' });
