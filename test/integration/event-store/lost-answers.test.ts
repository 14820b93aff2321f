// A commit whose answer never comes: the connection ends between the database's commit and the word of it. And what the
// database asks to be tried again: how often that is done.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PgEventStore } from '../../../src/event-store/event-store.ts';
import { createUnitOfWork, type RunUnitOfWork } from '../../../src/event-store/unit-of-work.ts';
import { connectDatabase, isDatabaseUnavailable, type Db } from '../../../src/platform/database.ts';
import { counted, made, newThing, startEventLog, thingRoutes, type EventLog } from '../../support/event-log.ts';
import { startDatabaseProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

let log: EventLog;
let proxy: TcpProxy;
let far: Readonly<{ db: Db; store: PgEventStore; unitOfWork: RunUnitOfWork }>;
let told = 0;

beforeAll(async () => {
  log = await startEventLog();
  const way = await startDatabaseProxy(log.url);
  proxy = way.proxy;
  const db = connectDatabase({ url: way.url, poolSize: 2, applicationName: 'far', onIdleError: () => undefined });
  const onCommitted = (): void => void (told += 1);
  const store = new PgEventStore({ db, codec: log.codec, routes: thingRoutes, onCommitted });
  far = { db, store, unitOfWork: createUnitOfWork({ db, store, onCommitted }) };
});
afterAll(async () => {
  await far.db.destroy();
  await proxy.close();
  await log.stop();
});

const thrownBy = async (work: Promise<unknown>): Promise<unknown> =>
  await work.then(
    () => undefined,
    (error: unknown) => error,
  );

async function countsOf(aggregateId: string): Promise<Readonly<{ events: number; deliveries: number }> | undefined> {
  const { rows } = await sql<{ events: number; deliveries: number }>`
    select (select count(*)::int from events where aggregate_id = ${aggregateId}) as events,
      (select count(*)::int from outbox where aggregate_id = ${aggregateId}) as deliveries`.execute(log.db);
  return rows[0];
}

describe('a commit whose answer is lost', () => {
  it('is unavailable to the writer, and the command again, with its event ids, is a success that changes nothing', async () => {
    const id = newThing();
    const events = [made(id), counted(id, 1)];
    const command = async (): Promise<readonly number[]> =>
      await far.unitOfWork(async (unit) => (await unit.append(events, 'none')).map((event) => event.version));
    const before = told;
    proxy.loseAnswerTo('commit');
    expect(isDatabaseUnavailable(await thrownBy(command()))).toBe(true);
    expect(told).toBe(before);
    expect(await countsOf(id)).toEqual({ events: 2, deliveries: 3 });
    expect(await command()).toEqual([1, 2]);
    expect(await countsOf(id)).toEqual({ events: 2, deliveries: 3 });
  });

  it('of an append without a unit of work is found by its event ids, too', async () => {
    const event = made(newThing());
    proxy.loseAnswerTo('insert into events');
    expect(isDatabaseUnavailable(await thrownBy(far.store.append(event)))).toBe(true);
    expect(await countsOf(event.aggregateId)).toEqual({ events: 1, deliveries: 2 });
    expect(await far.store.append(event)).toMatchObject([{ version: 1 }]);
    expect(await countsOf(event.aggregateId)).toEqual({ events: 1, deliveries: 2 });
  });
});

describe('a unit of work that the database asks to run again', () => {
  it.each(['40001', '40P01'])('with %s runs five times at most, and then its caller is told', async (code) => {
    const id = newThing();
    let runs = 0;
    const work = log.unitOfWork(async (unit) => {
      runs += 1;
      await unit.append(made(id));
      await sql.raw(`do $$ begin raise exception 'again' using errcode = '${code}'; end $$`).execute(unit.tx);
    });
    expect(await thrownBy(work)).toMatchObject({ code });
    expect(runs).toBe(5);
    expect(await countsOf(id)).toEqual({ events: 0, deliveries: 0 });
  });

  it('stores once what a later run got through', async () => {
    const event = made(newThing());
    let runs = 0;
    await log.unitOfWork(async (unit) => {
      runs += 1;
      await unit.append(event);
      if (runs < 3) await sql`do $$ begin raise exception 'again' using errcode = '40001'; end $$`.execute(unit.tx);
    });
    expect(runs).toBe(3);
    expect(await countsOf(event.aggregateId)).toEqual({ events: 1, deliveries: 2 });
  });
});
