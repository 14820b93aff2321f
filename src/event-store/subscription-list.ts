// Where each subscription is in the log. For people and for metrics; who runs it knows more.
import { sql } from 'kysely';
import type { Queryable } from '../platform/database.ts';
import type { LogCursor } from './log-cursor.ts';

export type SubscriptionState = Readonly<{
  name: string;
  checkpoint: LogCursor;
  /** Events behind the checkpoint, counted up to `mostCounted`. */
  lag: number;
  /** A rebuild goes over old events. */
  replaying: boolean;
}>;

/** Past this a number tells nobody more, and counting would be work at the wrong moment. */
export const mostCounted = 100_000;

/** Those that have run at least once, by name. */
export async function listSubscriptions(db: Queryable): Promise<readonly SubscriptionState[]> {
  const { rows } = await sql<Omit<SubscriptionState, 'checkpoint'> & LogCursor>`
    select name, xid::text as xid, subscriptions.position::text as position, replay_until_xid is not null as replaying,
      (select count(*) from (
        select from events
        where (events.ordering_xid, events.position) > (subscriptions.xid, subscriptions.position)
        limit ${mostCounted}) ahead)::int as lag
    from subscriptions order by name`.execute(db);
  return rows.map(({ name, xid, position, lag, replaying }) => ({
    name,
    checkpoint: { xid, position },
    lag,
    replaying,
  }));
}
