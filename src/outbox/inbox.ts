// Makes a handler's effect in PostgreSQL happen once, however often its event is delivered.
import type { Tx } from '../platform/database.ts';

/**
 * First statement of the handler's own transaction: a second delivery that runs at the same time waits here for the
 * first one's commit, and then finds the row.
 * @returns false where this handler has dealt with the event already
 */
export async function enterInbox(tx: Tx, handlerName: string, eventId: string): Promise<boolean> {
  const inserted = await tx
    .insertInto('inbox')
    .values({ handler_name: handlerName, event_id: eventId })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (inserted.numInsertedOrUpdatedRows ?? 0n) > 0n;
}
