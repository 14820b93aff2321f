// Deletes what is over: the log keeps every event, the outbox and the inbox only what may still matter.
import { setTimeout as sleep } from 'node:timers/promises';
import { sql, type RawBuilder } from 'kysely';
import type { Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';

/** Long enough to look into last weekend. */
const outboxHours = 72;
/** An inbox row outlives any redelivery; one whose event may be delivered again stays however old it is. */
const inboxDays = 14;
/** A batch locks for tens of milliseconds and holds back no reader of the log for longer. */
const batchSize = 5_000;
const hour = 3_600_000;

/** The store behind its destination may still lose it, and it is put back then (redeliver-since.ts). */
const mayBePutBack = (delivery: RawBuilder<unknown>): RawBuilder<unknown> => sql`exists (
  select from delivery_epochs epoch
  where epoch.destination = ${delivery}.destination
    and ${delivery}.published_at >= epoch.safe_until - interval '1 minute')`;

/**
 * One batch of done deliveries. Skips what somebody has locked, and keeps what has overtaken a dead letter: only by that
 * row can it be told, when it is sent again, that it comes past its place. @returns how many were deleted
 */
export async function deleteDoneDeliveries(db: Db, limit = batchSize): Promise<number> {
  const deleted = await sql`
    delete from outbox using (
      select id, destination from outbox done
      where published and published_at < now() - make_interval(hours => ${outboxHours})
        and not ${mayBePutBack(sql`done`)}
        and not exists (
          select from outbox dead
          where dead.destination = done.destination and dead.aggregate_id = done.aggregate_id
            and not dead.published and dead.state = 'dead' and dead.version < done.version)
      order by published_at
      limit ${limit}
      for update of done skip locked
    ) old
    where outbox.id = old.id and outbox.destination = old.destination`.execute(db);
  return Number(deleted.numAffectedRows ?? 0n);
}

/** One batch of what handlers have done long ago. @returns how many were deleted */
export async function deleteOldInboxRows(db: Db, limit = batchSize): Promise<number> {
  const deleted = await sql`
    delete from inbox using (
      select handler_name, event_id from inbox
      where processed_at < now() - make_interval(days => ${inboxDays})
        and not exists (select from outbox where outbox.id = inbox.event_id
          and (not outbox.published or ${mayBePutBack(sql`outbox`)}))
      order by processed_at
      limit ${limit}
      for update skip locked
    ) old
    where inbox.handler_name = old.handler_name and inbox.event_id = old.event_id`.execute(db);
  return Number(deleted.numAffectedRows ?? 0n);
}

export type CleanUp = Readonly<{ stop(): Promise<void> }>;

/** Every hour, in batches. Any number of processes may run it; one that fails leaves it to the next hour. */
export function runCleanUp({ db, logger }: Readonly<{ db: Db; logger: Logger }>): CleanUp {
  const stopping = new AbortController();
  const { signal } = stopping;

  async function drain(name: string, deleteBatch: (db: Db) => Promise<number>): Promise<void> {
    let total = 0;
    for (let deleted = batchSize; deleted === batchSize && !signal.aborted; total += deleted)
      deleted = await deleteBatch(db);
    if (total > 0) logger.info({ name, deleted: total }, 'cleaned up');
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        await drain('outbox', deleteDoneDeliveries);
        await drain('inbox', deleteOldInboxRows);
      } catch (error) {
        logger.warn({ err: error }, 'clean-up failed; again in an hour');
      }
      await sleep(hour, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  const running = run();
  return {
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
