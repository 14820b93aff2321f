// Lanes under concurrency, and lanes that are off. Judged by the rows of outbox and lanes, and by what arrived. The
// rounds are called one by one where nothing but the lanes may find the work: only a relay's loop mends lanes.
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { retryDeadLetters } from '../../../src/outbox/outbox-admin.ts';
import { changeRows, dueForTheRest, holdLanes, mendLanes } from '../../../src/outbox/lanes.ts';
import { claimDeliveries, completeDeliveries, recordFailure } from '../../../src/outbox/outbox-rows.ts';
import { migrateDown, migrateToLatest } from '../../../src/platform/migrate.ts';
import { counted, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { arrivalOf, createTestRelay, versionsOf, type Arrival, type TestRelay } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog({ poolSize: 30 });
});
afterAll(async () => await log.stop());
beforeEach(async () => void (await sql`truncate outbox, outbox_lanes`.execute(log.db)));

type Lane = Readonly<{ due: 'never' | 'now' | 'later' | 'blocked' }>;
async function laneOf(aggregateId: string): Promise<Lane | undefined> {
  const { rows } = await sql<Lane>`
    select case when due_at is null then 'never' when due_at = 'infinity' then 'blocked'
      when due_at > now() then 'later' else 'now' end as due
    from outbox_lanes where aggregate_id = ${aggregateId} and destination = 'left'`.execute(log.db);
  return rows[0];
}

async function countRows(): Promise<readonly unknown[]> {
  const { rows } = await sql`select state, attempts, count(*)::int from outbox group by 1, 2`.execute(log.db);
  return rows;
}

const claim = { destination: 'left', owner: 'first', limit: 10, leaseSeconds: 60, blockedByDead: false };
const walk = { destination: 'left', blockedByDead: false, after: '', limit: 100 };

describe('a lane', () => {
  it('is due when the first event comes, later while it is leased, and never when all is delivered', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    expect(await laneOf(id)).toEqual({ due: 'now' });
    const [row] = await claimDeliveries(log.db, claim);
    expect(await laneOf(id)).toEqual({ due: 'later' });
    await completeDeliveries(log.db, claim, [row?.id ?? '']);
    expect(await laneOf(id)).toEqual({ due: 'never' });
    await log.store.append(counted(id, 2));
    expect(await laneOf(id)).toEqual({ due: 'now' });
  });

  it('is not woken by what is appended behind its blocked or leased head', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    await claimDeliveries(log.db, claim);
    await log.store.append(counted(id, 2));
    expect(await laneOf(id)).toEqual({ due: 'later' });
    await sql`update outbox set state = 'dead', locked_by = null, locked_until = null
      where aggregate_id = ${id} and version = 1`.execute(log.db);
    await sql`update outbox_lanes set due_at = now()`.execute(log.db);
    expect(await claimDeliveries(log.db, { ...claim, blockedByDead: true })).toEqual([]);
    await log.store.append(counted(id, 3));
    expect(await laneOf(id)).toEqual({ due: 'blocked' });
  });

  it('gives what was sent again past its place side by side, up to the limit, and is due for the rest', async () => {
    const id = newThing();
    await log.store.append(Array.from({ length: 15 }, (_, n) => counted(id, n)));
    await sql`update outbox set state = 'dead'`.execute(log.db);
    await log.store.append([counted(id, 16), counted(id, 17)]);
    const [last] = await claimDeliveries(log.db, claim);
    await completeDeliveries(log.db, claim, [last?.id ?? '']);
    expect(await retryDeadLetters(log.db, { tenantId: 'default', destination: 'left' })).toBe(15);
    const [some, rest] = [await claimDeliveries(log.db, claim), await claimDeliveries(log.db, claim)];
    expect([some.length, rest.length]).toEqual([10, 5]);
    expect([...some, ...rest].every((row) => row.redelivered)).toBe(true);
    expect(await laneOf(id)).toEqual({ due: 'later' });
    const ids = [...some, ...rest].map((row) => row.id);
    expect(await completeDeliveries(log.db, claim, ids)).toBe(15);
    expect(await claimDeliveries(log.db, claim)).toMatchObject([{ version: 17, redelivered: false }]);
  });

  it('that an append is under way on has its dead letters sent again after it', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    await claimDeliveries(log.db, claim);
    await sql`update outbox set state = 'dead'`.execute(log.db);
    let retrying: Promise<number> | undefined;
    await log.unitOfWork(async (unit) => {
      await unit.append(counted(id, 2));
      retrying = retryDeadLetters(log.db, { tenantId: 'default', destination: 'left' });
      await sql`select pg_sleep(0.1)`.execute(unit.tx);
    });
    expect(await retrying).toBe(1);
    await sql`update outbox set locked_until = now()`.execute(log.db);
    expect(await claimDeliveries(log.db, claim)).toMatchObject([{ version: 1, redelivered: false }]);
  });

  it('whose rows changed between a statement’s snapshot and its lock is left for a second look', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    const [row] = await claimDeliveries(log.db, claim);
    // The statement has its snapshot, and comes to the lane when the append behind its back has committed.
    const slowly = sql`(select true from pg_sleep(0.5))`;
    const holding = sql`with ${holdLanes('left', sql`lane.aggregate_id = ${id} and ${slowly}`)}
      select (select count(*)::int from locked) as locked, (select count(*)::int from held) as held`.execute(log.db);
    const completing = changeRows(log.db, {
      destination: 'left',
      where: sql`outbox.id = ${row?.id} and outbox.locked_by is not null and ${slowly}`,
      set: sql`state = 'done', locked_by = null, locked_until = null`,
      due: dueForTheRest,
    });
    await eventually(async () => {
      const { rows } = await sql`
        select from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()`.execute(log.db);
      return rows.length === 2 ? true : undefined;
    });
    await log.store.append(counted(id, 2));
    expect((await holding).rows).toEqual([{ locked: 1, held: 0 }]);
    expect(await completing).toBe(1);
    expect(await laneOf(id)).toEqual({ due: 'now' });
    expect(await claimDeliveries(log.db, claim)).toMatchObject([{ version: 2 }]);
  });

  it('that another transaction holds is left alone by a claim, and the others are taken', async () => {
    const [busy, free] = [newThing(), newThing()];
    await log.store.append(counted(busy, 1));
    await log.store.append(counted(free, 1));
    await log.unitOfWork(async (unit) => {
      await unit.append(counted(busy, 2));
      const rows = await claimDeliveries(log.db, claim);
      expect(rows.map((row) => row.aggregate_id)).toEqual([free]);
    });
    expect(await claimDeliveries(log.db, claim)).toMatchObject([{ aggregate_id: busy, version: 1 }]);
  });

  it('is completed after the append that is under way on it, which then is due', async () => {
    const [busy, free] = [newThing(), newThing()];
    await log.store.append(counted(busy, 1));
    await log.store.append(counted(free, 1));
    const rows = await claimDeliveries(log.db, claim);
    let completing: Promise<number> | undefined;
    await log.unitOfWork(async (unit) => {
      await unit.append(counted(busy, 2));
      const ids = rows.map((row) => row.id);
      completing = completeDeliveries(log.db, claim, ids);
      // The free lane does not wait for the busy one.
      await eventually(async () => ((await laneOf(free))?.due === 'never' ? true : undefined));
      expect(await laneOf(busy)).toEqual({ due: 'later' });
    });
    expect(await completing).toBe(2);
    expect(await laneOf(busy)).toEqual({ due: 'now' });
    expect(await claimDeliveries(log.db, claim)).toMatchObject([{ aggregate_id: busy, version: 2 }]);
  });
});

describe('appends and relays at the same time', () => {
  const writers = 6;
  const rounds = 60;

  /** Rounds one after another, by several relays, until the writers have ended and nothing is due. */
  async function deliverDuring(write: () => Promise<unknown>): Promise<readonly Arrival[]> {
    const arrived: Arrival[] = [];
    const relays: readonly TestRelay[] = Array.from({ length: 4 }, () =>
      createTestRelay(log, { concurrency: 3, deliver: async (delivery) => void arrived.push(arrivalOf(delivery)) }),
    );
    const written = new AbortController();
    const loops = relays.map(async ({ relay }) => {
      while (!written.signal.aborted || (await relay.processOutbox()) > 0) await relay.processOutbox();
    });
    await write().finally(() => written.abort());
    await Promise.all(loops);
    await Promise.all(relays.map(async (each) => await each.stop()));
    return arrived;
  }

  it('lose nothing on the same few aggregates, delivered once and in order, and leave every lane empty', async () => {
    const ids = Array.from({ length: 3 }, newThing);
    const arrived = await deliverDuring(
      async () =>
        await Promise.all(
          Array.from({ length: writers }, async () => {
            for (let n = 0; n < rounds; n += 1) for (const id of ids) await log.store.append(counted(id, n));
          }),
        ),
    );
    const each = Array.from({ length: writers * rounds }, (_, n) => n + 1);
    for (const id of ids) expect(versionsOf(arrived, id)).toEqual(each);
    expect(await countRows()).toEqual([{ state: 'done', attempts: 1, count: ids.length * each.length }]);
    for (const id of ids) expect(await laneOf(id)).toEqual({ due: 'never' });
  });

  it('lose nothing when units of work append to several aggregates in opposite orders', async () => {
    const [a, b, c] = [newThing(), newThing(), newThing()];
    const orders = [[a, b, c], [c, b, a], [b, c, a], [a, c, b]] as const; // prettier-ignore
    let runs = 0;
    const perWriter = 6;
    const arrived = await deliverDuring(
      async () =>
        await Promise.all(
          orders.map(async (order) => {
            for (let n = 0; n < perWriter; n += 1) {
              await retried(async () => {
                await log.unitOfWork(async (unit) => {
                  runs += 1;
                  await sql`set local deadlock_timeout = '20ms'`.execute(unit.tx);
                  for (const id of order) await unit.append(counted(id, n));
                });
              });
            }
          }),
        ),
    );
    console.log(`${runs - orders.length * perWriter} of ${runs} units of work ran again after a deadlock`);
    const each = Array.from({ length: orders.length * perWriter }, (_, n) => n + 1);
    for (const id of [a, b, c]) expect(versionsOf(arrived, id)).toEqual(each);
    expect(await countRows()).toEqual([{ state: 'done', attempts: 1, count: 3 * each.length }]);
    for (const id of [a, b, c]) expect(await laneOf(id)).toEqual({ due: 'never' });
  });
});

/** As a client of the API would, after five deadlocks in a row. */
async function retried(work: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      await work();
      return;
    } catch (error) {
      if (attempt === 5) throw error;
    }
  }
}

describe('a lane that is off', () => {
  const corruptions = [
    ['is missing', sql`delete from outbox_lanes`],
    ['is said to be empty', sql`update outbox_lanes set due_at = null`],
    ['is said to be blocked', sql`update outbox_lanes set due_at = 'infinity'`],
    ['is due tomorrow', sql`update outbox_lanes set due_at = now() + interval '1 day'`],
    ['has counted its changes wrongly', sql`update outbox_lanes set changes = -7, due_at = null`],
  ] as const;

  it.each(corruptions)('because it %s is found by a relay’s loop, which says so, and delivers', async (_, corrupt) => {
    const ids = Array.from({ length: 5 }, newThing);
    for (const id of ids) await log.store.append([counted(id, 1), counted(id, 2)]);
    await corrupt.execute(log.db);
    const test = createTestRelay(log, { deliver: async () => {} });
    expect(await test.relay.processOutbox()).toBe(0);
    test.relay.start();
    await eventually(async () => {
      const row = await log.db.selectFrom('outbox').select('id').where('state', '<>', 'done').executeTakeFirst();
      return row === undefined ? true : undefined;
    });
    await test.stop();
    expect(test.logged).toContain('lanes did not fit their deliveries and were woken');
    expect(await countRows()).toEqual([{ state: 'done', attempts: 1, count: 10 }]);
  });

  it.each(corruptions)('because it %s keeps no claimed delivery from its completion', async (_, corrupt) => {
    const id = newThing();
    await log.store.append([counted(id, 1), counted(id, 2)]);
    const [row] = await claimDeliveries(log.db, claim);
    await corrupt.execute(log.db);
    expect(await completeDeliveries(log.db, claim, [row?.id ?? ''])).toBe(1);
    expect(await laneOf(id)).toEqual({ due: 'now' });
  });

  it('because it is due too early costs one look, and no delivery is made twice', async () => {
    const [empty, leased, blocked] = [newThing(), newThing(), newThing()];
    for (const id of [empty, leased, blocked]) await log.store.append([counted(id, 1), counted(id, 2)]);
    await claimDeliveries(log.db, claim);
    await sql`update outbox set state = 'done' where aggregate_id = ${empty}`.execute(log.db);
    await sql`update outbox set state = 'dead' where aggregate_id = ${blocked} and version = 1`.execute(log.db);
    await sql`update outbox_lanes set due_at = now()`.execute(log.db);
    expect(await claimDeliveries(log.db, { ...claim, owner: 'second', limit: 1, blockedByDead: true })).toEqual([]);
    const lanes = await Promise.all([empty, leased, blocked].map(laneOf));
    expect(lanes).toEqual([{ due: 'never' }, { due: 'later' }, { due: 'blocked' }]);
  });

  it('is looked for page by page, and one that is right is left alone', async () => {
    const ids = Array.from({ length: 7 }, newThing).toSorted();
    for (const id of ids) await log.store.append(counted(id, 1));
    expect(await mendLanes(log.db, { ...walk, limit: 3 })).toEqual({ mended: 0, next: ids[2] });
    await sql`update outbox_lanes set due_at = null where aggregate_id > ${ids[3]}`.execute(log.db);
    expect(await mendLanes(log.db, { ...walk, limit: 3, after: ids[2] ?? '' })).toEqual({ mended: 2, next: ids[5] });
    expect(await mendLanes(log.db, { ...walk, limit: 3, after: ids[5] ?? '' })).toEqual({ mended: 1, next: '' });
    expect(await mendLanes(log.db, walk)).toEqual({ mended: 0, next: '' });
  });

  it('is none that has dead letters only, or waits behind one', async () => {
    const [dead, blocked] = [newThing(), newThing()];
    await log.store.append(counted(dead, 1));
    await log.store.append([counted(blocked, 1), counted(blocked, 2)]);
    for (const row of await claimDeliveries(log.db, claim)) {
      await recordFailure(log.db, claim, row.id, { error: 'never', retryInMilliseconds: undefined });
    }
    expect(await claimDeliveries(log.db, { ...claim, blockedByDead: true })).toEqual([]);
    expect(await Promise.all([dead, blocked].map(laneOf))).toEqual([{ due: 'never' }, { due: 'blocked' }]);
    expect(await mendLanes(log.db, { ...walk, blockedByDead: true })).toEqual({ mended: 0, next: '' });
    // Another policy: it goes on past the dead letter.
    expect(await mendLanes(log.db, walk)).toEqual({ mended: 1, next: '' });
    expect(await claimDeliveries(log.db, claim)).toMatchObject([{ aggregate_id: blocked, version: 2 }]);
  });
});

describe('the migration', () => {
  it('makes a lane of what is undone, and can be taken back', async () => {
    const [open, done] = [newThing(), newThing()];
    for (const id of [open, done]) await log.store.append([counted(id, 1), counted(id, 2)]);
    await sql`update outbox set state = 'done' where aggregate_id = ${done}`.execute(log.db);
    const undone: string[] = [];
    while (!undone.includes('0007-outbox-lanes')) undone.push(...(await migrateDown(log.url)));
    expect(await migrateToLatest(log.url)).toEqual(undone.toReversed());
    expect([await laneOf(open), await laneOf(done)]).toEqual([{ due: 'now' }, undefined]);
    await log.store.append(counted(done, 3));
    expect(await claimDeliveries(log.db, claim)).toMatchObject([{ version: 1 }, { version: 3 }]);
  });
});
