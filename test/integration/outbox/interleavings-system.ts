// The real store, outbox and relays of the interleavings, each stopped wherever the next command wants it: writers with
// their transactions open, relays with deliveries in hand, whoever waits for a lock waiting for it.
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { expect } from 'vitest';
import { PgEventStore } from '../../../src/event-store/event-store.ts';
import type { LogCursor } from '../../../src/event-store/log-cursor.ts';
import type { UnitOfWork } from '../../../src/event-store/unit-of-work.ts';
import type { Db } from '../../../src/platform/database.ts';
import { thingRoutes } from '../../support/event-log.ts';
import { moveClock } from '../../support/stopped-clock.ts';
import { createModel, createReaderModel, type ReaderModel } from './interleavings-model.ts';
import { startRelays } from './interleavings-relays.ts';
import { connectAs, mostAttempts, policies, type World } from './interleavings-world.ts';

type Writer = Readonly<{
  unit: UnitOfWork;
  pid: number;
  end: (how: 'commit' | 'roll back') => void;
  ended: Promise<boolean>;
}>;
type Reader = { after: LogCursor; readonly model: ReaderModel };

export type System = Awaited<ReturnType<typeof startSystem>>;

export async function startSystem(world: World) {
  const { log } = world;
  world.runs += 1;
  const run = `run-${world.runs}`;
  await sql`truncate outbox, outbox_lanes, inbox, effects, outbox_destinations`.execute(log.db);
  const streams = ['a', 'b', 'c'].map((name) => `${run}-${name}`);
  const model = createModel({ streams, routes: thingRoutes, policies, mostAttempts });
  const writers = new Map<number, Writer>();
  /** Work that waits for a lock, by the application name of its connection. */
  const underWay = new Map<string, Promise<void>>();
  const others = new Map(['sender-0', 'sender-1', 'operator'].map((name) => [name, connectAs(log, name)]));
  const readers: readonly Reader[] = [0, 1].map(() => ({ after: world.logEnd, model: createReaderModel(model) }));

  async function isBlocked(name: string): Promise<boolean> {
    const { rows } = await sql`
      select from pg_stat_activity where datname = current_database() and application_name = ${name}
        and wait_event_type = 'Lock' and pg_blocking_pids(pid) <> '{}'`.execute(log.db);
    return rows.length > 0;
  }

  /** @returns false once it waits for a lock, which a later command releases */
  async function comesToItsEnd(name: string, work: Promise<unknown>): Promise<boolean> {
    const settled = work.then(
      () => true,
      () => true,
    );
    for (;;) {
      if (await Promise.race([settled, delay(1, false)])) return true;
      if (await isBlocked(name)) return false;
    }
  }

  async function proceed(name: string, work: Promise<void>): Promise<void> {
    underWay.set(name, work);
    model.busy.add(name);
    await settle();
  }

  /** Whoever can go on does; one that a second one has held up for a moment goes on after it. */
  async function settle(): Promise<void> {
    for (let moved = true; moved;) {
      moved = false;
      for (const [name, work] of underWay) {
        if (!(await comesToItsEnd(name, work))) continue;
        underWay.delete(name);
        model.busy.delete(name);
        await work;
        moved = true;
      }
    }
  }

  async function openWriter(n: number, takesIdEarly: boolean): Promise<void> {
    const opened = Promise.withResolvers<Pick<Writer, 'unit' | 'pid'>>();
    const told = Promise.withResolvers<'commit' | 'roll back'>();
    const work = log.unitOfWork(async (unit) => {
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(unit.tx);
      if (takesIdEarly) await sql`select pg_current_xact_id()`.execute(unit.tx);
      opened.resolve({ unit, pid: rows[0]?.pid ?? 0 });
      if ((await told.promise) === 'roll back') throw new Error('rolled back');
    });
    const ended = work.then(
      () => true,
      () => false,
    );
    writers.set(n, { ...(await opened.promise), end: told.resolve, ended });
    model.open.set(n, []);
  }

  async function endWriter(n: number, how: 'commit' | 'roll back' | 'cut'): Promise<void> {
    const writer = writers.get(n);
    if (writer === undefined) return;
    if (how === 'cut') await sql`select pg_terminate_backend(${writer.pid}, 10000)`.execute(log.db);
    writer.end(how === 'roll back' ? 'roll back' : 'commit');
    expect(await writer.ended).toBe(how === 'commit');
    writers.delete(n);
    if (how === 'commit') model.commit(model.open.get(n) ?? []);
    model.open.delete(n);
    for (const [stream, holder] of model.locked) if (holder === n) model.locked.delete(stream);
    await settle();
  }

  const storeOf = (name: string): PgEventStore =>
    new PgEventStore({ db: dbOf(name), codec: log.codec, routes: thingRoutes, onCommitted: () => undefined });
  const dbOf = (name: string): Db => others.get(name) ?? log.db;

  async function read(reader: Reader, limit: number): Promise<void> {
    const { events, end } = await log.store.readLog({ after: reader.after, limit });
    reader.after = end;
    for (const event of events) if (event.aggregateId.startsWith(`${run}-`)) reader.model.see(event);
  }

  async function close(): Promise<void> {
    for (const n of writers.keys()) await endWriter(n, 'roll back');
    await Promise.allSettled(underWay.values());
    await relays.close();
    for (const db of others.values()) await db.destroy();
  }

  /** No two things happen at the same moment, so that what is due first is always the same. */
  async function tick(): Promise<void> {
    await moveClock(log.db, '1 microsecond');
  }
  /** Leases, back-offs and what is remembered of old deliveries end. */
  async function timePasses(by: '1 hour' | '20 days'): Promise<void> {
    await moveClock(log.db, by);
    model.hourPasses();
  }

  const relays = startRelays({ world, model, proceed });
  return {
    world,
    model,
    relays,
    writers,
    underWay,
    readers,
    dbOf,
    storeOf,
    proceed,
    settle,
    openWriter,
    endWriter,
    read,
    tick,
    timePasses,
    close,
  };
}
