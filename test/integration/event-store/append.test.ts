// What an append promises: order, all or nothing, one winner, and once.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConflictError } from '../../../src/domain/errors.ts';
import type { DomainEvent } from '../../../src/domain/event.ts';
import { newId } from '../../../src/domain/ids.ts';
import type { ExpectedVersion } from '../../../src/event-store/append.ts';
import { InvalidEventError } from '../../../src/event-store/event-codec.ts';
import { counted, hidden, made, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { eventually } from '../../support/saga-service.ts';

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog();
});
afterAll(async () => await log.stop());

async function rowsOf(aggregateId: string): Promise<{ events: number; outbox: number; version: number | undefined }> {
  const { rows } = await sql<{ events: number; outbox: number; version: number | null }>`
    select (select count(*)::int from events where aggregate_id = ${aggregateId}) as events,
           (select count(*)::int from outbox where aggregate_id = ${aggregateId}) as outbox,
           (select version from streams where aggregate_id = ${aggregateId}) as version`.execute(log.db);
  return { events: rows[0]?.events ?? -1, outbox: rows[0]?.outbox ?? -1, version: rows[0]?.version ?? undefined };
}
const nothing = { events: 0, outbox: 0, version: undefined };

async function conflictOf(append: Promise<unknown>): Promise<ConflictError> {
  const error: unknown = await append.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ConflictError);
  return error as ConflictError;
}

describe('an append', () => {
  it('of one event gives it version 1 and keeps it as it was', async () => {
    const event = made(newThing());
    const [stored] = await log.store.append(event);
    expect(stored).toMatchObject({ ...event, version: 1, schemaVersion: 1 });
    expect(await log.store.getEvents(event.aggregateId)).toEqual([stored]);
    expect(stored?.occurredAt).toBeInstanceOf(Date);
  });

  it('of many gives versions and positions in their order, and the schema version of each type', async () => {
    const id = newThing();
    const events = [made(id), ...Array.from({ length: 20 }, (_, n) => counted(id, n)), hidden(id)];
    const stored = await log.store.append(events);
    expect(stored.map((event) => event.version)).toEqual(events.map((_, index) => index + 1));
    const positions = stored.map((event) => BigInt(event.position));
    expect(positions.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(positions);
    const read = await log.store.getEvents(id);
    expect(read.map((event) => event.eventId)).toEqual(events.map((event) => event.eventId));
    expect(read.map((event) => event.schemaVersion)).toEqual([1, ...Array.from({ length: 20 }, () => 2), 1]);
    const later = await log.store.getEvents(id, { fromVersion: 21 });
    expect(later.map((event) => event.version)).toEqual([21, 22]);
  });

  it('goes on where the stream ends', async () => {
    const id = newThing();
    await log.store.append([made(id), counted(id, 1)]);
    const [third] = await log.store.append(counted(id, 2), { expectedVersion: 2 });
    expect(third?.version).toBe(3);
  });

  it('of none does nothing', async () => {
    expect(await log.store.append([])).toEqual([]);
  });

  it('writes one aggregate only', async () => {
    await expect(log.store.append([made(newThing()), made(newThing())])).rejects.toThrow(TypeError);
  });

  it('tells the relay when it has committed, and not when it is refused', async () => {
    const id = newThing();
    const before = log.commits();
    await log.store.append(made(id));
    expect(log.commits()).toBe(before + 1);
    await conflictOf(log.store.append(made(id), { expectedVersion: 'none' }));
    expect(log.commits()).toBe(before + 1);
  });

  it('stores payload and metadata as jsonb objects that SQL can read', async () => {
    const id = newThing();
    await log.store.append(made(id, 'a "quoted" name, 😀, \\u0041'));
    const { rows } = await sql`
      select jsonb_typeof(payload) as payload, jsonb_typeof(metadata) as metadata, payload->>'name' as name,
             metadata->>'tenantId' as tenant, tenant_id from events where aggregate_id = ${id}`.execute(log.db);
    expect(rows).toEqual([
      {
        payload: 'object',
        metadata: 'object',
        name: 'a "quoted" name, 😀, \\u0041',
        tenant: 'default',
        tenant_id: 'default',
      },
    ]);
  });

  it('writes a delivery for each destination of its type, as the routing table says', async () => {
    const id = newThing();
    const events = [made(id), counted(id, 1), hidden(id)];
    await log.store.append(events);
    const rows = await log.db
      .selectFrom('outbox')
      .select(['event_type', 'destination', 'version', 'state', 'attempts', 'published', 'payload'])
      .where('aggregate_id', '=', id)
      .orderBy('version')
      .orderBy('destination')
      .execute();
    const pending = { state: 'pending', attempts: 0, published: false };
    expect(rows).toEqual([
      { ...pending, event_type: 'thing.made', destination: 'left', version: 1, payload: { name: 'lamp' } },
      { ...pending, event_type: 'thing.made', destination: 'right', version: 1, payload: { name: 'lamp' } },
      { ...pending, event_type: 'thing.counted', destination: 'left', version: 2, payload: { n: 1 } },
    ]);
  });
});

describe('the expected version', () => {
  it.each<[ExpectedVersion, number, boolean]>([
    ['none', 0, true],
    ['none', 2, false],
    [0, 0, true],
    [0, 2, false],
    [2, 2, true],
    [1, 2, false],
    [3, 2, false],
    [1, 0, false],
    ['exists', 0, false],
    ['exists', 2, true],
    ['any', 0, true],
    ['any', 2, true],
  ])('%s, where the stream is at %i: %s', async (expectedVersion, at, succeeds) => {
    const id = newThing();
    if (at > 0) await log.store.append(Array.from({ length: at }, (_, n) => counted(id, n)));
    const append = log.store.append(made(id), { expectedVersion });
    if (succeeds) {
      expect((await append)[0]?.version).toBe(at + 1);
    } else {
      const conflict = await conflictOf(append);
      expect(conflict.actualVersion).toBe(at);
      expect(conflict.message).toContain(`${id} is at version ${at}, expected was ${expectedVersion}`);
    }
    const left = succeeds ? at + 1 : at;
    expect(await rowsOf(id)).toEqual({
      events: left,
      outbox: at + (succeeds ? 2 : 0),
      version: left === 0 ? undefined : left,
    });
  });

  it('lets one of two win who write at the same time, and tells the other where the stream is', async () => {
    for (const start of [0, 1]) {
      const id = newThing();
      if (start === 1) await log.store.append(made(id));
      const writers = Array.from(
        { length: 8 },
        async (_, n) => await log.store.append([counted(id, n), counted(id, n)], { expectedVersion: start }),
      );
      const results = await Promise.allSettled(writers);
      const lost = results.filter((result) => result.status === 'rejected');
      expect(lost).toHaveLength(7);
      for (const { reason } of lost) {
        expect(reason).toBeInstanceOf(ConflictError);
        expect(reason).toMatchObject({ actualVersion: start + 2 });
      }
      expect(await rowsOf(id)).toEqual({ events: start + 2, outbox: start * 2 + 2, version: start + 2 });
    }
  });

  it('of any gives everybody who writes at the same time versions without a gap', async () => {
    const id = newThing();
    await Promise.all(
      Array.from({ length: 10 }, async (_, n) => await log.store.append([counted(id, n), counted(id, n)])),
    );
    const versions = (await log.store.getEvents(id)).map((event) => event.version);
    expect(versions).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
  });

  it('that is wrong leaves the transaction usable for a second try', async () => {
    const id = newThing();
    await log.store.append(made(id));
    await log.unitOfWork(async (unit) => {
      const conflict = await conflictOf(unit.append(counted(id, 1), 'none'));
      await unit.append(counted(id, 1), conflict.actualVersion);
    });
    expect(await rowsOf(id)).toMatchObject({ events: 2 });
  });

  it('cannot be met by a stream of another type or tenant', async () => {
    const event = made(newThing());
    await log.store.append(event);
    const other = { ...made(event.aggregateId), aggregateType: 'gadget' };
    expect((await conflictOf(log.store.append(other))).message).toContain('another type or tenant');
    const foreign = { ...made(event.aggregateId), metadata: { tenantId: 'acme' } };
    for (const expectedVersion of ['any', 'exists', 1] as const) {
      expect((await conflictOf(log.store.append(foreign, { expectedVersion }))).message).toContain('type or tenant');
    }
    expect(await rowsOf(event.aggregateId)).toMatchObject({ events: 1 });
  });
});

describe('the same events again', () => {
  it.each<ExpectedVersion>(['any', 'none', 'exists', 0, 2])(
    'are a success without a new row, expecting %s',
    async (expectedVersion) => {
      const id = newThing();
      const events = [made(id), counted(id, 1)];
      const first = await log.store.append(events);
      await log.store.append(counted(id, 2));
      const second = await log.store.append(events, { expectedVersion });
      expect(second).toEqual(first);
      expect(await rowsOf(id)).toEqual({ events: 3, outbox: 4, version: 3 });
    },
  );

  it.each<[string, (event: DomainEvent) => DomainEvent]>([
    ['another payload', (event) => ({ ...event, payload: { name: 'shade' } })],
    ['another type', (event) => ({ ...event, eventType: 'thing.counted', payload: { n: 1 } })],
    ['another aggregate', (event) => ({ ...event, aggregateId: newThing() })],
  ])('with %s are a conflict', async (_, change) => {
    const event = made(newThing());
    await log.store.append(event);
    const changed = change(event);
    await conflictOf(log.store.append(changed));
    expect(await rowsOf(event.aggregateId)).toEqual({ events: 1, outbox: 2, version: 1 });
    if (changed.aggregateId !== event.aggregateId) expect(await rowsOf(changed.aggregateId)).toEqual(nothing);
  });

  it('together with new ones are a conflict: an append happened whole or not at all', async () => {
    const id = newThing();
    const first = made(id);
    await log.store.append(first);
    await conflictOf(log.store.append([first, counted(id, 1)]));
    expect(await rowsOf(id)).toEqual({ events: 1, outbox: 2, version: 1 });
  });

  it('at the same time are one', async () => {
    for (const expectedVersion of ['any', 'none', 'exists'] as const) {
      const id = newThing();
      if (expectedVersion === 'exists') await log.store.append(hidden(id));
      const event = made(id);
      const stored = await Promise.all(
        Array.from({ length: 8 }, async () => await log.store.append(event, { expectedVersion })),
      );
      expect(new Set(stored.map(([one]) => one?.position)).size).toBe(1);
      expect(await rowsOf(id)).toMatchObject({ outbox: 2 });
    }
  });

  it('at the same time within units of work are one, and each unit has its state', async () => {
    const event = made(newThing());
    await Promise.all(
      Array.from({ length: 5 }, async () => {
        await log.unitOfWork(async (unit) => {
          await unit.append(event);
          await unit.tx.insertInto('inbox').values({ handler_name: event.eventId, event_id: newId() }).execute();
        });
      }),
    );
    expect(await rowsOf(event.aggregateId)).toEqual({ events: 1, outbox: 2, version: 1 });
    const states = await log.db.selectFrom('inbox').selectAll().where('handler_name', '=', event.eventId).execute();
    expect(states).toHaveLength(5);
  });
});

describe('an event that does not fit', () => {
  it('takes the others of its append with it', async () => {
    const id = newThing();
    const wrong = { ...counted(id, 1), payload: { n: 'one' } };
    await expect(log.store.append([made(id), counted(id, 1), wrong])).rejects.toThrow(
      /thing\.counted does not fit its schema: payload\.n: /,
    );
    expect(await rowsOf(id)).toEqual(nothing);
  });

  it('takes them with it also where only the database finds out', async () => {
    const id = newThing();
    await expect(log.store.append([made(id), { ...made(id), eventId: 'no uuid' }])).rejects.toThrow(/uuid/);
    const twice = counted(id, 1);
    await expect(log.store.append([twice, twice])).rejects.toThrow(/duplicate key/);
    expect(await rowsOf(id)).toEqual(nothing);
  });

  it('because its type is not in the catalogue is refused by name', async () => {
    const unknown = { ...made(newThing()), eventType: 'thing.lost' };
    await expect(log.store.append(unknown)).rejects.toThrow('event type thing.lost is not in the catalogue');
    await expect(log.store.append({ ...unknown, eventType: 'toString' })).rejects.toThrow(InvalidEventError);
  });

  const nul = 'a\u0000b';
  it.each([
    ['a NUL', nul],
    ['half a surrogate pair', 'a\ud83d'],
    ['the other half', '\ude00b'],
  ])('because it holds %s is refused with a clear word, wherever the text stands', async (_, text) => {
    const clear = /thing\.made holds text with a NUL or half a surrogate pair/;
    const event = made(newThing());
    const { aggregateId } = event;
    await expect(log.store.append({ ...event, payload: { name: text } })).rejects.toThrow(clear);
    await expect(log.store.append({ ...event, metadata: { tenantId: 'default', userId: text } })).rejects.toThrow(
      clear,
    );
    await expect(log.store.append({ ...event, aggregateId: text })).rejects.toThrow(clear);
    expect(await rowsOf(aggregateId)).toEqual(nothing);
  });
});

describe('the log', () => {
  it.each([
    ['UPDATE', sql`update events set event_type = 'thing.lost'`],
    ['DELETE', sql`delete from events`],
    ['TRUNCATE', sql`truncate events cascade`],
  ])('refuses %s', async (operation, statement) => {
    const event = made(newThing());
    await log.store.append(event);
    await expect(statement.execute(log.db)).rejects.toThrow(`events are append-only: ${operation} is refused`);
    expect(await log.store.getEvents(event.aggregateId)).toHaveLength(1);
  });

  it('takes no payload that is not an object', async () => {
    const id = newThing();
    await log.store.append(made(id));
    const insert = sql`
      insert into events (id, event_type, aggregate_id, aggregate_type, version, payload, metadata, schema_version,
                          tenant_id, occurred_at, ordering_xid)
      select ${newId()}, event_type, aggregate_id, aggregate_type, 2, ${'"text"'}::jsonb, metadata, schema_version,
             tenant_id, occurred_at, ordering_xid from events where aggregate_id = ${id}`;
    await expect(insert.execute(log.db)).rejects.toThrow(/events_payload_check/);
  });
});

describe('a unit of work', () => {
  it('commits state, event and deliveries together, and then tells the relay', async () => {
    const event = made(newThing());
    const before = log.commits();
    await log.unitOfWork(async (unit) => {
      await unit.append(event);
      await unit.tx.insertInto('inbox').values({ handler_name: 'state', event_id: event.eventId }).execute();
      expect(log.commits()).toBe(before);
    });
    expect(log.commits()).toBe(before + 1);
    expect(await rowsOf(event.aggregateId)).toEqual({ events: 1, outbox: 2, version: 1 });
    expect(await log.db.selectFrom('inbox').selectAll().where('event_id', '=', event.eventId).execute()).toHaveLength(
      1,
    );
  });

  it('that fails leaves neither state, nor event, nor delivery, and wakes nobody', async () => {
    const event = made(newThing());
    const before = log.commits();
    const work = log.unitOfWork(async (unit) => {
      await unit.append(event);
      await unit.tx.insertInto('inbox').values({ handler_name: 'state', event_id: event.eventId }).execute();
      throw new Error('at the last moment');
    });
    await expect(work).rejects.toThrow('at the last moment');
    expect(await rowsOf(event.aggregateId)).toEqual(nothing);
    expect(await log.db.selectFrom('inbox').selectAll().where('event_id', '=', event.eventId).execute()).toEqual([]);
    expect(log.commits()).toBe(before);
  });

  it('that swallows the error of a statement does not pass for committed', async () => {
    const event = made(newThing());
    const work = log.unitOfWork(async (unit) => {
      await unit.append(event);
      await sql`select 1 / 0`.execute(unit.tx).catch(() => undefined);
    });
    await expect(work).rejects.toThrow('rolled back instead of committed');
    expect(await rowsOf(event.aggregateId)).toEqual(nothing);
  });

  it('wakes nobody where it appended nothing', async () => {
    const before = log.commits();
    expect(await log.unitOfWork(async () => await Promise.resolve('answer'))).toBe('answer');
    expect(log.commits()).toBe(before);
  });

  it('sees its own events, and others see them only after the commit', async () => {
    const event = made(newThing());
    await log.unitOfWork(async (unit) => {
      await unit.append(event);
      expect(await log.store.getEvents(event.aggregateId, { tx: unit.tx })).toHaveLength(1);
      expect(await log.store.getEvents(event.aggregateId)).toHaveLength(0);
    });
    expect(await log.store.getEvents(event.aggregateId)).toHaveLength(1);
  });

  it('is run again from the start when two of them lock each other out', async () => {
    const [one, two] = [newThing(), newThing()];
    await log.store.append(made(one));
    await log.store.append(made(two));
    let runs = 0;
    const bothHoldOne = Promise.withResolvers<void>();
    let holding = 0;
    const work = async (first: string, second: string): Promise<void> =>
      await log.unitOfWork(async (unit) => {
        runs += 1;
        await unit.append(counted(first, 1));
        holding += 1;
        if (holding === 2) bothHoldOne.resolve();
        await bothHoldOne.promise;
        await unit.append(counted(second, 2));
      });
    await Promise.all([work(one, two), work(two, one)]);
    expect(runs).toBeGreaterThan(2);
    for (const id of [one, two]) expect(await rowsOf(id)).toMatchObject({ events: 3, version: 3 });
  });

  it('is not run again for any other error', async () => {
    let runs = 0;
    const work = log.unitOfWork(async (unit) => {
      runs += 1;
      await sql`select 1 / 0`.execute(unit.tx);
    });
    await expect(work).rejects.toThrow(/division by zero/);
    expect(runs).toBe(1);
  });

  it('whose connection dies leaves nothing behind', async () => {
    const event = made(newThing());
    const work = log.unitOfWork(async (unit) => {
      await unit.append(event);
      const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(unit.tx);
      await sql`select pg_terminate_backend(${rows[0]?.pid})`.execute(log.db);
    });
    await expect(work).rejects.toThrow();
    await eventually(async () => {
      const { rows } =
        await sql`select from pg_locks where mode = 'RowExclusiveLock' and relation = 'streams'::regclass`.execute(
          log.db,
        );
      return rows.length === 0 ? true : undefined;
    });
    expect(await rowsOf(event.aggregateId)).toEqual(nothing);
  });
});
