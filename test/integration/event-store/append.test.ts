// The event store's contract, in each way to use it; what the log refuses; and what a unit of work adds.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { counted, made, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import {
  conflictOf,
  eventStoreContract,
  nothing,
  rowsOf as rowsIn,
  type RowsOf,
} from '../../support/event-store-contract.ts';
import { eventually } from '../../support/saga-service.ts';

eventStoreContract(
  'PgEventStore alone',
  ({ store }) =>
    async (events, expectedVersion = 'any') =>
      await store.append(events, { expectedVersion }),
);
eventStoreContract(
  'PgEventStore within a unit of work',
  ({ unitOfWork }) =>
    async (events, expectedVersion = 'any') =>
      await unitOfWork(async (unit) => await unit.append(events, expectedVersion)),
);
eventStoreContract(
  'PgEventStore as one of several aggregates',
  ({ store }) =>
    async (events, expectedVersion = 'any') =>
      (await store.appendAll([{ events, expectedVersion }]))[0] ?? [],
);

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog();
});
afterAll(async () => await log.stop());

const rowsOf = async (aggregateId: string): Promise<RowsOf> => await rowsIn(log, aggregateId);

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
  it('that appends the same event as others at the same time has its state, and the event is there once', async () => {
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

  it('can try again after a conflict', async () => {
    const id = newThing();
    await log.store.append(made(id));
    await log.unitOfWork(async (unit) => {
      const conflict = await conflictOf(unit.append(counted(id, 1), 'none'));
      await unit.append(counted(id, 1), conflict.actualVersion);
    });
    expect(await rowsOf(id)).toMatchObject({ events: 2 });
  });

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
