// The sum that holds at every rest: stored events times their routes is deliveries done plus dead.
import { sql } from 'kysely';
import { expect } from 'vitest';
import type { Routes } from '../../src/event-store/append.ts';
import type { Db } from '../../src/platform/database.ts';
import { lookAgain } from './relays.ts';
import { eventually } from './saga-service.ts';

/** Every delivery has left the queue. */
export async function queueIsEmpty({ db }: Readonly<{ db: Db }>, milliseconds = 30_000): Promise<void> {
  await eventually(async () => {
    const row = await db.selectFrom('outbox').select('id').where('state', '=', 'pending').executeTakeFirst();
    return row === undefined ? true : undefined;
  }, milliseconds);
}

/** The saga has been told of the cancellation, which is not to say that it has acted. */
export async function untilCancellationIsTold({ db }: Readonly<{ db: Db }>, orderId: string): Promise<void> {
  await eventually(async () => {
    const row = await db
      .selectFrom('outbox')
      .select('state')
      .where('aggregate_id', '=', orderId)
      .where('event_type', '=', 'order.cancellation_requested')
      .where('destination', '=', 'temporal')
      .executeTakeFirst();
    return row?.state === 'done' ? true : undefined;
  });
}

/**
 * Waits for the last delivery, and then: every stored event has one for each destination of its type, done or dead.
 * @param dead of how many dead letters the test knows
 */
export async function expectDeliveriesToBalance({ db }: Readonly<{ db: Db }>, routes: Routes, dead = 0): Promise<void> {
  await queueIsEmpty({ db });
  const events = await db.selectFrom('events').select(['id', 'event_type']).execute();
  const wanted = events.flatMap(({ id, event_type }) =>
    (routes[event_type] ?? []).map((destination) => `${id} ${destination}`),
  );
  // A handler behind the bus may have some still to write. Too few for good are told apart below.
  await eventually(async () => ((await countOf(db)) >= wanted.length ? true : undefined)).catch(() => undefined);
  await queueIsEmpty({ db });
  const deliveries = await db.selectFrom('outbox').select(['id', 'destination', 'state']).execute();
  expect(deliveries.map(({ id, destination }) => `${id} ${destination}`).toSorted()).toEqual(wanted.toSorted());
  expect(deliveries.filter(({ state }) => state === 'dead')).toHaveLength(dead);
}

const countOf = async (db: Db): Promise<number> =>
  (await sql<{ n: number }>`select count(*)::int as n from outbox`.execute(db)).rows[0]?.n ?? 0;

/** What a minute's waiting does to the deliveries that a dead relay, or a lost database, has left claimed. */
export async function letLeasesRunOut({ db }: Readonly<{ db: Db }>): Promise<void> {
  await sql`update outbox set locked_until = now() - interval '1 second' where locked_until is not null`.execute(db);
  await lookAgain(db);
}
