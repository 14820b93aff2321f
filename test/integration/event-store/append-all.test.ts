// A transaction that writes several streams: all or none, one place in the log, and nobody locks the other out.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConflictError } from '../../../src/domain/errors.ts';
import type { DomainEvent, StoredEvent } from '../../../src/domain/event.ts';
import type { ExpectedVersion } from '../../../src/event-store/append.ts';
import { counted, hidden, made, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { eventually } from '../../support/saga-service.ts';

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog();
});
afterAll(async () => await log.stop());

type StreamRow = Readonly<{ version: number; xid: string }>;

async function streamOf(aggregateId: string): Promise<StreamRow | undefined> {
  const { rows } = await sql<StreamRow>`
    select version, last_xid::text as xid from streams where aggregate_id = ${aggregateId}`.execute(log.db);
  return rows[0];
}

async function countOf(aggregateId: string): Promise<{ events: number; outbox: number }> {
  const { rows } = await sql<{ events: number; outbox: number }>`
    select (select count(*)::int from events where aggregate_id = ${aggregateId}) as events,
           (select count(*)::int from outbox where aggregate_id = ${aggregateId}) as outbox`.execute(log.db);
  return rows[0] ?? { events: -1, outbox: -1 };
}

async function xidsOf(events: readonly DomainEvent[]): Promise<readonly string[]> {
  const { rows } = await sql<{ xid: string }>`
    select distinct ordering_xid::text as xid from events
    where id = any(${events.map((event) => event.eventId)}::uuid[])`.execute(log.db);
  return rows.map((row) => row.xid);
}

async function readBoth(ids: readonly string[], count: number): Promise<readonly StoredEvent[]> {
  return await eventually(async () => {
    const { events } = await log.store.readLog({ limit: 10_000 });
    const theirs = events.filter((event) => ids.includes(event.aggregateId));
    return theirs.length >= count ? theirs : undefined;
  });
}

const inIdOrder = (): readonly [string, string] => {
  const [one, two] = [newThing(), newThing()].toSorted();
  return [one ?? '', two ?? ''];
};

describe('an append to several aggregates', () => {
  it('stores all events with their versions and deliveries, and says so once', async () => {
    const [one, two] = inIdOrder();
    await log.store.append(made(two));
    const before = log.commits();
    const events = [[made(one), counted(one, 1)], [counted(two, 1)]];
    const stored = await log.store.appendAll([
      { events: events[0] ?? [], expectedVersion: 'none' },
      { events: events[1] ?? [], expectedVersion: 1 },
    ]);
    expect(log.commits()).toBe(before + 1);
    expect(stored.map((each) => each.map((event) => event.version))).toEqual([[1, 2], [2]]);
    expect(await log.store.getEvents(one)).toEqual(stored[0]);
    expect((await log.store.getEvents(two)).slice(1)).toEqual(stored[1]);
    expect(await countOf(one)).toEqual({ events: 2, outbox: 3 });
    expect(await countOf(two)).toEqual({ events: 2, outbox: 3 });
  });

  it('of nothing does nothing, and of nothing for one of them writes the others', async () => {
    expect(await log.store.appendAll([])).toEqual([]);
    const event = made(newThing());
    const stored = await log.store.appendAll([{ events: [] }, { events: event }]);
    expect(stored.map((each) => each.length)).toEqual([0, 1]);
  });

  it('names each aggregate once', async () => {
    const id = newThing();
    await expect(log.store.appendAll([{ events: made(id) }, { events: counted(id, 1) }])).rejects.toThrow(TypeError);
    expect(await streamOf(id)).toBeUndefined();
  });

  it('gives all events one ordering xid, which each of the streams remembers', async () => {
    const [one, two] = inIdOrder();
    const events = [made(two), made(one), counted(newThing(), 1)];
    await log.store.appendAll(events.map((event) => ({ events: event })));
    const xids = await xidsOf(events);
    expect(xids).toHaveLength(1);
    for (const event of events) expect((await streamOf(event.aggregateId))?.xid).toBe(xids[0]);
  });

  it('takes the greatest ordering xid of its streams for all of them, and the reader sees both in order', async () => {
    const [one, two] = inIdOrder();
    const [oldOne, newOne, newTwo, last] = [made(one), counted(one, 2), made(two), counted(two, 2)];
    await log.unitOfWork(async (early) => {
      await sql`select pg_current_xact_id()`.execute(early.tx);
      // Of a later transaction: its xid is greater than ours.
      await log.store.append(oldOne);
      await early.appendAll([{ events: newTwo }, { events: newOne, expectedVersion: 1 }]);
    });
    await log.store.append(last);
    expect(await xidsOf([oldOne, newOne, newTwo])).toHaveLength(1);
    expect((await streamOf(two))?.xid).not.toBe((await streamOf(one))?.xid);
    const seen = await readBoth([one, two], 4);
    expect(seen.map((event) => event.eventId)).toEqual([oldOne, newTwo, newOne, last].map((event) => event.eventId));
  });

  it('stays hidden from the reader, with what comes after it, until it commits', async () => {
    const [one, two] = inIdOrder();
    const after = made(newThing());
    await log.unitOfWork(async (unit) => {
      await unit.appendAll([{ events: made(one) }, { events: made(two) }]);
      await log.store.append(after);
      const { events } = await log.store.readLog({ limit: 10_000 });
      expect(events.filter((event) => [one, two, after.aggregateId].includes(event.aggregateId))).toEqual([]);
    });
    expect((await readBoth([one, two, after.aggregateId], 3)).map((event) => event.aggregateId)).toEqual([
      one,
      two,
      after.aggregateId,
    ]);
  });

  it.each(['new streams', 'streams that exist', 'one of each'])(
    'never locks out another that names them the other way round: %s',
    async (kind) => {
      const deadlocks = async (): Promise<number> => {
        const { rows } = await sql<{ deadlocks: number }>`
          select deadlocks::int as deadlocks from pg_stat_database where datname = current_database()`.execute(log.db);
        return rows[0]?.deadlocks ?? -1;
      };
      const before = await deadlocks();
      let runs = 0;
      for (let round = 0; round < 10; round += 1) {
        const [one, two] = inIdOrder();
        if (kind !== 'new streams') await log.store.append(made(two));
        if (kind === 'streams that exist') await log.store.append(made(one));
        const write = async (first: string, second: string): Promise<void> =>
          await log.unitOfWork(async (unit) => {
            runs += 1;
            await unit.appendAll([{ events: counted(first, round) }, { events: counted(second, round) }]);
            await sql`select pg_sleep(0.002)`.execute(unit.tx);
          });
        await Promise.all(Array.from({ length: 8 }, async (_, n) => await (n % 2 ? write(one, two) : write(two, one))));
        expect((await streamOf(one))?.version).toBe(kind === 'streams that exist' ? 9 : 8);
        expect((await streamOf(two))?.version).toBe(kind === 'new streams' ? 8 : 9);
      }
      // None was run again, so nothing hides a deadlock.
      expect(runs).toBe(80);
      expect(await deadlocks()).toBe(before);
    },
  );

  it('of two that expect the same versions lets one win, whole', async () => {
    const [one, two] = inIdOrder();
    await log.store.append(made(one));
    const writers = Array.from(
      { length: 6 },
      async (_, n) =>
        await log.store.appendAll([
          { events: counted(two, n), expectedVersion: 'none' },
          { events: counted(one, n), expectedVersion: 1 },
        ]),
    );
    const lost = (await Promise.allSettled(writers)).filter((result) => result.status === 'rejected');
    expect(lost).toHaveLength(5);
    for (const { reason } of lost) expect(reason).toBeInstanceOf(ConflictError);
    expect((await streamOf(one))?.version).toBe(2);
    expect(await countOf(two)).toEqual({ events: 1, outbox: 1 });
  });
});

describe('a conflict of one aggregate', () => {
  it.each<[ExpectedVersion, number]>([
    ['none', 1],
    [0, 1],
    [2, 1],
    [1, 0],
    ['exists', 0],
  ])('(expected %s, is at %i) leaves all of them as they were, and the transaction usable', async (expected, at) => {
    const [wrong, fresh, known] = [newThing(), newThing(), newThing()];
    if (at === 1) await log.store.append(made(wrong));
    await log.store.append(made(known));
    await log.unitOfWork(async (unit) => {
      const appends = [{ events: made(fresh) }, { events: [counted(known, 1), counted(known, 2)] }];
      const refused = unit.appendAll([...appends, { events: counted(wrong, 1), expectedVersion: expected }]);
      const conflict: unknown = await refused.catch((error: unknown) => error);
      expect(conflict).toBeInstanceOf(ConflictError);
      expect(conflict).toMatchObject({
        actualVersion: at,
        message: `${wrong} is at version ${at}, expected was ${expected}`,
      });
      await unit.append(hidden(known), 1);
    });
    expect(await streamOf(fresh)).toBeUndefined();
    expect((await streamOf(wrong))?.version).toBe(at === 0 ? undefined : at);
    expect((await log.store.getEvents(known)).map((event) => event.eventType)).toEqual(['thing.made', 'thing.hidden']);
  });

  it('of another type or tenant is one', async () => {
    const [foreign, other] = [newThing(), newThing()];
    await log.store.append({ ...made(foreign), metadata: { tenantId: 'acme' } });
    await expect(log.store.appendAll([{ events: made(foreign) }, { events: made(other) }])).rejects.toThrow(
      'another type or tenant',
    );
    expect(await streamOf(other)).toBeUndefined();
    expect((await streamOf(foreign))?.version).toBe(1);
  });
});

describe('the same appends again', () => {
  const appendsOf = () => {
    const [one, two] = inIdOrder();
    return [{ events: [made(two), counted(two, 1)], expectedVersion: 'none' as const }, { events: [made(one)] }];
  };

  it('are a success without a new row', async () => {
    const appends = appendsOf();
    const first = await log.store.appendAll(appends);
    expect(await log.store.appendAll(appends)).toEqual(first);
    for (const { events } of appends) {
      const id = events[0]?.aggregateId ?? '';
      expect((await streamOf(id))?.version).toBe(events.length);
      expect((await countOf(id)).events).toBe(events.length);
    }
  });

  it('at the same time are one', async () => {
    const appends = appendsOf();
    const stored = await Promise.all(Array.from({ length: 6 }, async () => await log.store.appendAll(appends)));
    expect(new Set(stored.map(([first]) => first?.[0]?.position)).size).toBe(1);
    for (const { events } of appends) {
      expect((await countOf(events[0]?.aggregateId ?? '')).events).toBe(events.length);
    }
  });

  it('without the rest are a conflict', async () => {
    const appends = appendsOf();
    await log.store.append(appends[1]?.events ?? []);
    await expect(log.store.appendAll(appends)).rejects.toThrow('stored already, without the rest');
    expect(await streamOf(appends[0]?.events[0]?.aggregateId ?? '')).toBeUndefined();
  });
});
