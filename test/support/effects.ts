// What handlers did, written down in their own transactions: how often, and in which order.
import { sql } from 'kysely';
import type { EventHandler, HandlerContext } from '../../src/bus/event-bus.ts';
import type { StoredEvent } from '../../src/domain/event.ts';
import type { Db } from '../../src/platform/database.ts';

export const tableOfEffects = sql`
  create table effects (handler text not null, aggregate_id text not null, version int not null, n serial)`;
type HasDb = Readonly<{ db: Db }>;
export type Effect = Readonly<{ handler: string; aggregate_id: string; version: number }>;

export const effectsOf = async ({ db }: HasDb, aggregateId: string): Promise<readonly Effect[]> =>
  (
    await sql<Effect>`select handler, aggregate_id, version from effects where aggregate_id = ${aggregateId} order by n`.execute(
      db,
    )
  ).rows;

/** A handler's effect in PostgreSQL, in its transaction. */
export const recordEffect = async (handler: string, event: StoredEvent, { tx }: HandlerContext): Promise<void> =>
  void (await sql`
    insert into effects (handler, aggregate_id, version) values (${handler}, ${event.aggregateId}, ${event.version})`.execute(
    tx,
  ));

export const recorder =
  (handler: string): EventHandler =>
  async (event, context) =>
    await recordEffect(handler, event, context);
