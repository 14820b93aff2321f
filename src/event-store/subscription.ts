// Catch-up subscriptions: a named reader of the whole log, from any place in it, that keeps its checkpoint in the same
// transaction as its effect. So an effect in PostgreSQL happens exactly once, whatever dies when.
import { sql } from 'kysely';
import type { StoredEvent } from '../domain/event.ts';
import type { Db, Tx } from '../platform/database.ts';
import type { EventStore } from './event-store.ts';
import { logStart, type LogCursor } from './log-cursor.ts';

export type SubscriptionContext = Readonly<{
  tx: Tx;
  /** An old event that a rebuild goes over again: write the projection, cause nothing else. */
  replaying: boolean;
}>;

export type Subscription = Readonly<{
  /** Stable for ever: the checkpoint is found by it. */
  name: string;
  /** Where the first start under this name begins; later ones go on from the checkpoint, whatever stands here then. */
  startFrom: 'beginning' | 'end' | LogCursor;
  /** Called in the log's safe order, one event at a time, in the checkpoint's transaction. No calls to others here. */
  apply(event: StoredEvent, context: SubscriptionContext): Promise<void>;
  /** Empties what `apply` writes, before a rebuild. */
  reset(tx: Tx): Promise<void>;
}>;

export type SubscriptionRunner = Readonly<{
  /** One batch. @returns how many events it went over; 0 where nothing is new, a replay ends, or another holds it */
  runOnce(): Promise<number>;
  /** Empties the projection and goes over the whole log again; a crash in the middle goes on where it was. */
  rebuild(): Promise<void>;
}>;

/** Short transactions: an open one holds back every reader of the log. */
const batchSize = 200;

type Checkpoint = Readonly<{ cursor: LogCursor; replayUntil: LogCursor | undefined }>;

export function createSubscription(
  deps: Readonly<{ db: Db; store: EventStore }>,
  subscription: Subscription,
): SubscriptionRunner {
  const { db, store } = deps;
  const { name } = subscription;

  return {
    async runOnce() {
      await ensureCheckpoint(db, subscription);
      return await db.transaction().execute(async (tx) => {
        // One holder: whoever has the row locked. The next process skips it and comes back later.
        const checkpoint = await lockCheckpoint(tx, name, 'skip locked');
        if (checkpoint === undefined) return 0;
        const { cursor, replayUntil } = checkpoint;
        const page = await store.readLog({ after: cursor, upTo: replayUntil, limit: batchSize, tx });
        if (page.events.length === 0) {
          if (replayUntil !== undefined) await endReplay(tx, name);
          return 0;
        }
        for (const event of page.events) await subscription.apply(event, { tx, replaying: replayUntil !== undefined });
        await moveCheckpoint(tx, name, page.end);
        return page.events.length;
      });
    },
    rebuild: async () => await rebuildSubscription(db, subscription),
  };
}

/**
 * From any process, while another runs the subscription: waits for its batch, which is short, and from its next one on
 * it goes over the log again. Emptied and sent back in one transaction, so that a crash leaves it as it was, or begun.
 */
export async function rebuildSubscription(db: Db, subscription: Subscription): Promise<void> {
  const { name } = subscription;
  await ensureCheckpoint(db, subscription);
  await db.transaction().execute(async (tx) => {
    const checkpoint = await lockCheckpoint(tx, name, 'wait');
    if (checkpoint === undefined) throw new Error(`subscription ${name} has no checkpoint`);
    await subscription.reset(tx);
    // What an interrupted rebuild still had to go over stays a replay.
    await beginReplay(tx, name, checkpoint.replayUntil ?? checkpoint.cursor);
  });
}

async function ensureCheckpoint(db: Db, { name, startFrom }: Subscription): Promise<void> {
  const known = await db.selectFrom('subscriptions').select('name').where('name', '=', name).executeTakeFirst();
  if (known !== undefined) return;
  const from = startFrom === 'end' ? await logEnd(db) : startFrom === 'beginning' ? logStart : startFrom;
  await sql`
    insert into subscriptions (name, xid, position)
    values (${name}, ${from.xid}::xid8, ${from.position}::bigint)
    on conflict do nothing`.execute(db);
}

async function lockCheckpoint(tx: Tx, name: string, ifHeld: 'skip locked' | 'wait'): Promise<Checkpoint | undefined> {
  const { rows } = await sql<{
    xid: string;
    position: string;
    until_xid: string | null;
    until_position: string | null;
  }>`
    select xid::text as xid, position::text as position,
           replay_until_xid::text as until_xid, replay_until_position::text as until_position
    from subscriptions where name = ${name}
    for update ${ifHeld === 'skip locked' ? sql`skip locked` : sql``}`.execute(tx);
  const [row] = rows;
  if (row === undefined) return undefined;
  const { xid, position, until_xid: untilXid, until_position: untilPosition } = row;
  const replayUntil =
    untilXid === null || untilPosition === null ? undefined : { xid: untilXid, position: untilPosition };
  return { cursor: { xid, position }, replayUntil };
}

async function moveCheckpoint(tx: Tx, name: string, to: LogCursor): Promise<void> {
  await sql`
    update subscriptions set xid = ${to.xid}::xid8, position = ${to.position}::bigint, updated_at = now()
    where name = ${name}`.execute(tx);
}

/** The rebuild has come to where the subscription was when it began: from here on events are new. */
async function endReplay(tx: Tx, name: string): Promise<void> {
  await sql`
    update subscriptions set replay_until_xid = null, replay_until_position = null
    where name = ${name}`.execute(tx);
}

async function beginReplay(tx: Tx, name: string, until: LogCursor): Promise<void> {
  await sql`
    update subscriptions set xid = ${logStart.xid}::xid8, position = ${logStart.position}::bigint, updated_at = now(),
      replay_until_xid = ${until.xid}::xid8, replay_until_position = ${until.position}::bigint
    where name = ${name}`.execute(tx);
}

async function logEnd(db: Db): Promise<LogCursor> {
  const { rows } = await sql<LogCursor>`
    select ordering_xid::text as xid, position::text as position from events
    where ordering_xid < pg_snapshot_xmin(pg_current_snapshot())
    order by events.ordering_xid desc, events.position desc limit 1`.execute(db);
  return rows[0] ?? logStart;
}
