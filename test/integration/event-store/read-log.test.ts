// The log in its safe order (G8): late commits are not skipped, streams keep their order, pages see everything once.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DomainEvent, StoredEvent } from '../../../src/domain/event.ts';
import type { LogFilter } from '../../../src/event-store/event-store.ts';
import { decodeCursor, encodeCursor, type LogCursor } from '../../../src/event-store/log-cursor.ts';
import type { UnitOfWork } from '../../../src/event-store/unit-of-work.ts';
import { counted, hidden, made, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { eventually } from '../../support/saga-service.ts';

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog();
});
afterAll(async () => await log.stop());

type OpenUnit = Readonly<{ unit: UnitOfWork; commit(): Promise<void>; rollBack(): Promise<void> }>;

/** A unit of work that is left open. */
async function begin(): Promise<OpenUnit> {
  const open = Promise.withResolvers<UnitOfWork>();
  const end = Promise.withResolvers<void>();
  const work = log.unitOfWork(async (unit) => {
    open.resolve(unit);
    await end.promise;
  });
  const unit = await open.promise;
  return {
    unit,
    async commit() {
      end.resolve();
      await work;
    },
    async rollBack() {
      end.reject(new Error('rolled back'));
      await work.catch(() => undefined);
    },
  };
}

const takeXid = async ({ unit }: OpenUnit): Promise<unknown> => await sql`select pg_current_xact_id()`.execute(unit.tx);

function cursorOf(text: string): LogCursor {
  const cursor = decodeCursor(text);
  if (cursor === undefined) throw new Error(`${text} is no cursor`);
  return cursor;
}

/** From `after` to what is safe to read by now. */
async function readAll(filter: LogFilter = {}): Promise<{ events: readonly StoredEvent[]; next: string }> {
  const events: StoredEvent[] = [];
  let after = filter.after;
  for (;;) {
    const page = await log.store.readLog({ ...filter, after });
    events.push(...page.events);
    after = cursorOf(page.next);
    if (page.events.length === 0) return { events, next: page.next };
  }
}

/** Everything before is readable: other test files' transactions hold the horizon for moments. */
async function now(): Promise<LogCursor> {
  const mark = made(newThing());
  await log.store.append(mark);
  await eventually(async () => (await log.store.readLog({ aggregateId: mark.aggregateId })).events[0]);
  return cursorOf((await readAll()).next);
}
const idsOf = (events: readonly DomainEvent[]): readonly string[] => events.map((event) => event.eventId);

async function readUntil(after: LogCursor, count: number): Promise<readonly StoredEvent[]> {
  return await eventually(async () => {
    const { events } = await readAll({ after });
    return events.length >= count ? events : undefined;
  });
}

describe('a reader of the log', () => {
  it('waits for the transaction that began before and commits late, and skips nothing', async () => {
    const start = await now();
    const [late, quick] = [made(newThing()), made(newThing())];
    const slow = await begin();
    await slow.unit.append(late);
    await log.store.append(quick);
    const early = await readAll({ after: start });
    expect(early.events).toEqual([]);
    await slow.commit();
    expect(idsOf(await readUntil(cursorOf(early.next), 2))).toEqual(idsOf([late, quick]));
  });

  it('goes on at once when the transaction before rolls back', async () => {
    const start = await now();
    const quick = made(newThing());
    const slow = await begin();
    await slow.unit.append(made(newThing()));
    await log.store.append(quick);
    await slow.rollBack();
    expect(idsOf(await readUntil(start, 1))).toEqual([quick.eventId]);
  });

  it('sees a stream in its order also where the second writer took its transaction id before the first', async () => {
    const start = await now();
    const id = newThing();
    const [first, second] = [made(id), counted(id, 2)];
    const early = await begin();
    await takeXid(early);
    await log.store.append(first);
    expect((await readAll({ after: start })).events).toEqual([]);
    await early.unit.append(second, 1);
    await early.commit();
    const events = await readUntil(start, 2);
    expect(idsOf(events)).toEqual(idsOf([first, second]));
    const { rows } = await sql<{ xids: number }>`
      select count(distinct ordering_xid)::int as xids from events where aggregate_id = ${id}`.execute(log.db);
    expect(rows[0]?.xids).toBe(1);
  });

  it('never passes an event that borrowed a later transaction id before it is committed', async () => {
    const start = await now();
    const id = newThing();
    const early = await begin();
    await takeXid(early);
    await log.store.append(made(id));
    await early.unit.append(counted(id, 2));
    const others = [made(newThing()), made(newThing())];
    for (const other of others) await log.store.append(other);
    const { events, next } = await readAll({ after: start });
    expect(events).toEqual([]);
    await early.commit();
    const seen = await readUntil(cursorOf(next), 4);
    expect(seen.map((event) => event.aggregateId)).toEqual([id, id, ...others.map((other) => other.aggregateId)]);
  });

  it('is not held up by a transaction that only reads', async () => {
    const start = await now();
    const reading = await begin();
    await sql`select count(*) from events`.execute(reading.unit.tx);
    const event = made(newThing());
    await log.store.append(event);
    expect(idsOf(await readUntil(start, 1))).toEqual([event.eventId]);
    await reading.rollBack();
  });

  it('sees everything once and every stream in order while many write at once, half of them with an early id', async () => {
    const start = await now();
    const streams = Array.from({ length: 6 }, newThing);
    let writing = true;
    const writers = Promise.all(
      Array.from({ length: 12 }, async (_, writer) => {
        for (let n = 0; n < 15; n += 1) {
          const id = streams[(writer + n) % streams.length] ?? '';
          await log.unitOfWork(async (unit) => {
            if (writer % 2 === 0) await sql`select pg_current_xact_id(), pg_sleep(random() / 200)`.execute(unit.tx);
            await unit.append(counted(id, n));
          });
        }
      }),
    ).finally(() => {
      writing = false;
    });
    const seen: StoredEvent[] = [];
    let after = start;
    await eventually(async () => {
      const page = await log.store.readLog({ after, limit: 7 });
      seen.push(...page.events);
      after = cursorOf(page.next);
      return !writing && seen.length >= 180 ? true : undefined;
    });
    await writers;
    expect(new Set(idsOf(seen)).size).toBe(180);
    expect(seen).toHaveLength(180);
    for (const id of streams) {
      const versions = seen.filter((event) => event.aggregateId === id).map((event) => event.version);
      expect(versions).toEqual(versions.map((_, index) => index + 1));
    }
  });
});

describe('pages', () => {
  it.each([1, 2, 3, 100])('of %i show every event exactly once, in one order', async (limit) => {
    const start = await now();
    const ids = Array.from({ length: 3 }, newThing);
    const events = ids.flatMap((id) => [made(id), counted(id, 1), hidden(id)]);
    for (const event of events) await log.store.append(event);
    await readUntil(start, 9);
    expect(idsOf((await readAll({ after: start, limit })).events)).toEqual(idsOf(events));
  });

  it('of an append of many events cut it anywhere', async () => {
    const start = await now();
    const id = newThing();
    const events = Array.from({ length: 10 }, (_, n) => counted(id, n));
    await log.store.append(events);
    await readUntil(start, 10);
    expect(idsOf((await readAll({ after: start, limit: 3 })).events)).toEqual(idsOf(events));
  });

  it('that are empty give a cursor that finds what comes later', async () => {
    const start = await now();
    const empty = await log.store.readLog({ after: start });
    expect(empty.events).toEqual([]);
    const event = made(newThing());
    await log.store.append(event);
    expect(idsOf(await readUntil(cursorOf(empty.next), 1))).toEqual([event.eventId]);
  });
});

describe('the iteration', () => {
  it.each([1, 2, 100])('yields every event once, in order, in pages of %i', async (limit) => {
    const start = await now();
    const ids = Array.from({ length: 3 }, newThing);
    const events = ids.flatMap((id) => [made(id), counted(id, 1)]);
    for (const event of events) await log.store.append(event);
    await readUntil(start, 6);
    const seen: DomainEvent[] = [];
    for await (const event of log.store.iterate({ after: start, limit })) seen.push(event);
    expect(idsOf(seen)).toEqual(idsOf(events));
    const ofOneType: DomainEvent[] = [];
    for await (const event of log.store.iterate({ after: start, limit, eventType: 'thing.counted' })) {
      ofOneType.push(event);
    }
    expect(ofOneType.map((event) => event.aggregateId)).toEqual(ids);
  });

  it('of nothing yields nothing', async () => {
    expect(await log.store.iterate({ after: await now() }).next()).toEqual({ done: true, value: undefined });
  });

  it('takes in what is stored while it goes on, and ends before what it must not see yet', async () => {
    const start = await now();
    const [first, meanwhile, hiddenYet] = [made(newThing()), made(newThing()), made(newThing())];
    await log.store.append(first);
    await readUntil(start, 1);
    const open = await begin();
    const seen: string[] = [];
    for await (const event of log.store.iterate({ after: start, limit: 1 })) {
      seen.push(event.eventId);
      if (seen.length > 1) continue;
      await log.store.append(meanwhile);
      await readUntil(start, 2);
      await open.unit.append(hiddenYet);
    }
    expect(seen).toEqual(idsOf([first, meanwhile]));
    await open.commit();
    expect(idsOf(await readUntil(start, 3))).toEqual(idsOf([first, meanwhile, hiddenYet]));
  });

  it('that is left early reads no further page', async () => {
    const start = await now();
    for (const event of [made(newThing()), made(newThing())]) await log.store.append(event);
    await readUntil(start, 2);
    const iteration = log.store.iterate({ after: start, limit: 1 });
    for await (const event of iteration) {
      expect(event.version).toBe(1);
      break;
    }
    expect(await iteration.next()).toEqual({ done: true, value: undefined });
  });
});

describe('a filter', () => {
  it('by type, aggregate, tenant and time shows these and no others', async () => {
    const start = await now();
    const id = newThing();
    const at = (event: DomainEvent, time: string): DomainEvent => ({ ...event, occurredAt: new Date(time) });
    const foreign = { ...made(newThing()), metadata: { tenantId: 'acme' } };
    const events = [at(made(id), '2026-01-01T00:00:00Z'), at(counted(id, 1), '2026-01-02T00:00:00Z'), foreign];
    for (const event of events) await log.store.append(event);
    await readUntil(start, 3);
    const found = async (filter: LogFilter): Promise<readonly string[]> =>
      idsOf((await readAll({ after: start, ...filter })).events);
    const [first, second, third] = idsOf(events);
    expect(await found({ eventType: 'thing.made' })).toEqual([first, third]);
    expect(await found({ aggregateId: id })).toEqual([first, second]);
    expect(await found({ tenantId: 'acme' })).toEqual([third]);
    expect(await found({ from: new Date('2026-01-02T00:00:00Z'), aggregateId: id })).toEqual([second]);
    expect(await found({ to: new Date('2026-01-02T00:00:00Z'), aggregateId: id })).toEqual([first]);
    expect(idsOf((await log.store.getEventsByType('thing.counted', { after: start })).events)).toEqual([second]);
  });
});

describe('a cursor', () => {
  it('comes back as it was, also past 2^53', () => {
    const cursor = { xid: '18446744073709551615', position: '9223372036854775807' };
    expect(decodeCursor(encodeCursor(cursor))).toEqual(cursor);
    expect(encodeCursor(cursor)).toMatch(/^[\w-]+$/);
  });

  const encode = (text: string): string => Buffer.from(text).toString('base64url');
  it.each([
    ['nothing', ''],
    ['text', 'nonsense'],
    ['one number', encode('1')],
    ['three numbers', encode('1.2.3')],
    ['a negative number', encode('-1.2')],
    ['words', encode('one.two')],
    ['an xid that no column holds', encode('18446744073709551616.1')],
    ['a position that no column holds', encode('1.9223372036854775808')],
    ['a cursor with something after it', `${encode('1.2')}!`],
    ['SQL', encode("1.1'; drop table events")],
  ])('that is %s is none', (_, text) => {
    expect(decodeCursor(text)).toBeUndefined();
  });

  it('at the end of what its columns hold reads nothing and breaks nothing', async () => {
    const after = { xid: '18446744073709551615', position: '9223372036854775807' };
    expect((await log.store.readLog({ after })).events).toEqual([]);
  });
});
