// The relay, round by round: order, retries, dead letters, leases. Judged by the outbox's rows and by what arrived.
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { DestinationMisconfiguredError, PermanentDeliveryError, type Delivery } from '../../../src/outbox/delivery.ts';
import {
  claimDeliveries,
  completeDeliveries,
  giveBack,
  readLoopAges,
  recordFailure,
} from '../../../src/outbox/outbox-rows.ts';
import { counted, hidden, made, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { arrivalOf, createTestRelay, lookAgain, versionsOf, type Arrival } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog({ poolSize: 30 });
});
afterAll(async () => await log.stop());
beforeEach(async () => void (await sql`truncate outbox, outbox_lanes, relay_heartbeats`.execute(log.db)));

type Row = Readonly<{
  version: number;
  state: string;
  attempts: number;
  published: boolean;
  last_error: string | null;
  locked_by: string | null;
}>;

const rowsOf = async (aggregateId: string, destination = 'left'): Promise<readonly Row[]> =>
  await log.db
    .selectFrom('outbox')
    .select(['version', 'state', 'attempts', 'published', 'last_error', 'locked_by'])
    .where('aggregate_id', '=', aggregateId)
    .where('destination', '=', destination)
    .orderBy('version')
    .execute();

/** What waits for its retry, or under a lease, need not: the database's clock goes on in one step. */
const letTimePass = async (): Promise<void> => {
  await sql`update outbox set next_attempt_at = now(), locked_until = locked_until - interval '1 hour'`.execute(log.db);
  await lookAgain(log.db);
};

/** In seconds. */
async function longestWait(destination: string): Promise<number> {
  const { rows } = await sql<{ longest: number }>`
    select max(extract(epoch from next_attempt_at - now()))::float8 as longest from outbox
    where destination = ${destination}`.execute(log.db);
  return rows[0]?.longest ?? -1;
}

async function drain(relay: { processOutbox(): Promise<number> }): Promise<void> {
  while ((await relay.processOutbox()) > 0);
}

describe('a delivery', () => {
  it('is made once for each event and each of its destinations', async () => {
    const id = newThing();
    const events = [made(id), counted(id, 1), hidden(id)];
    await log.store.append(events);
    const arrived: Record<string, string[]> = { left: [], right: [] };
    for (const destination of ['left', 'right']) {
      const { relay } = createTestRelay(log, {
        destination,
        deliver: async ({ event }) => void arrived[destination]?.push(event.eventId),
      });
      await drain(relay);
      expect(await relay.processOutbox()).toBe(0);
    }
    expect(arrived).toEqual({ left: [events[0]?.eventId, events[1]?.eventId], right: [events[0]?.eventId] });
    const rows = await rowsOf(id);
    expect(rows).toMatchObject([
      { version: 1, state: 'done', attempts: 1, published: true, locked_by: null },
      { version: 2, state: 'done', attempts: 1, published: true, locked_by: null },
    ]);
  });

  it('carries the event as it was stored, with a real Date', async () => {
    const event = made(newThing());
    const [stored] = await log.store.append(event);
    const arrived: Delivery[] = [];
    const { relay } = createTestRelay(log, { deliver: async (delivery) => void arrived.push(delivery) });
    await drain(relay);
    expect(arrived).toEqual([{ event: stored, attempts: 1, redelivered: false }]);
    expect(arrived[0]?.event.occurredAt).toBeInstanceOf(Date);
  });

  it('is made while no transaction is open, so that it holds up no reader of the log', async () => {
    await log.store.append(made(newThing()));
    let open: readonly unknown[] = ['not looked'];
    const { relay } = createTestRelay(log, {
      async deliver() {
        const { rows } = await sql`
          select query from pg_stat_activity
          where datname = current_database() and pid <> pg_backend_pid() and xact_start is not null`.execute(log.db);
        open = rows;
      },
    });
    await drain(relay);
    expect(open).toEqual([]);
  });

  it('that fails is tried again, with the error on its row and each attempt counted', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    const attempts: number[] = [];
    const { relay, logged } = createTestRelay(log, {
      async deliver(delivery) {
        attempts.push(delivery.attempts);
        await Promise.resolve();
        if (delivery.attempts < 3) throw new TypeError('not this time');
      },
    });
    await relay.processOutbox();
    expect(await rowsOf(id)).toMatchObject([
      { state: 'pending', attempts: 1, last_error: 'TypeError: not this time', locked_by: null },
    ]);
    await letTimePass();
    await relay.processOutbox();
    await letTimePass();
    await relay.processOutbox();
    expect(attempts).toEqual([1, 2, 3]);
    expect(await rowsOf(id)).toMatchObject([{ state: 'done', attempts: 3, last_error: null }]);
    expect(logged.filter((line) => line === 'delivery failed and is retried')).toHaveLength(2);
  });

  it('waits longer after each failure, up to five minutes, by the clock of the database', async () => {
    const ids = Array.from({ length: 40 }, newThing);
    for (const id of ids) await log.store.append(counted(id, 1));
    const { relay } = createTestRelay(log, {
      concurrency: 50,
      mostAttempts: 100,
      deliver: async () => await Promise.reject(new Error('no')),
    });
    const waits = async (): Promise<number> => await longestWait('left');
    await relay.processOutbox();
    expect(await waits()).toBeLessThanOrEqual(1);
    await sql`update outbox set attempts = 4, next_attempt_at = now()`.execute(log.db);
    await lookAgain(log.db);
    await relay.processOutbox();
    const later = await waits();
    expect(later).toBeGreaterThan(4);
    expect(later).toBeLessThanOrEqual(16);
    await sql`update outbox set attempts = 60, next_attempt_at = now()`.execute(log.db);
    await lookAgain(log.db);
    await relay.processOutbox();
    expect(await waits()).toBeLessThanOrEqual(300);
    expect(await waits()).toBeGreaterThan(60);
  });

  it('waits as its own destination says, whatever the other does', async () => {
    for (let n = 0; n < 40; n += 1) await log.store.append(made(newThing()));
    const options = { concurrency: 50, deliver: async () => await Promise.reject(new Error('no')) };
    const backoff = { baseMilliseconds: 40_000, longestMilliseconds: 90_000 };
    const slow = createTestRelay(log, { ...options, destination: 'left', backoff });
    const usual = createTestRelay(log, { ...options, destination: 'right' });
    for (const { relay } of [slow, usual]) await relay.processOutbox();
    expect(await longestWait('left')).toBeGreaterThan(10);
    expect(await longestWait('left')).toBeLessThanOrEqual(40);
    expect(await longestWait('right')).toBeLessThanOrEqual(1);
    await sql`update outbox set attempts = 8, next_attempt_at = now()`.execute(log.db);
    await lookAgain(log.db);
    await slow.relay.processOutbox();
    expect(await longestWait('left')).toBeGreaterThan(40);
    expect(await longestWait('left')).toBeLessThanOrEqual(90);
  });

  it('that is no event of the catalogue any more fails by name and lets the others pass', async () => {
    const [strange, plain] = [newThing(), newThing()];
    await log.store.append(counted(strange, 1));
    await log.store.append(counted(plain, 1));
    await sql`update outbox set event_type = 'thing.lost' where aggregate_id = ${strange}`.execute(log.db);
    const { relay } = createTestRelay(log, { deliver: async () => {} });
    await relay.processOutbox();
    expect((await rowsOf(strange))[0]?.last_error).toContain('thing.lost is not in the catalogue');
    expect(await rowsOf(plain)).toMatchObject([{ state: 'done' }]);
  });
});

describe('the order of an aggregate', () => {
  it('is kept: a failing first event holds up the later ones of its aggregate and no other', async () => {
    const [stuck, free] = [newThing(), newThing()];
    for (let n = 1; n <= 3; n += 1) {
      await log.store.append(counted(stuck, n));
      await log.store.append(counted(free, n));
    }
    const arrived: Arrival[] = [];
    let broken = true;
    const { relay } = createTestRelay(log, {
      mostAttempts: 100,
      async deliver(delivery) {
        arrived.push(arrivalOf(delivery));
        await Promise.resolve();
        if (broken && delivery.event.aggregateId === stuck) throw new Error('not yet');
      },
    });
    for (let round = 0; round < 3; round += 1) {
      await drain(relay);
      await letTimePass();
    }
    expect(versionsOf(arrived, free)).toEqual([1, 2, 3]);
    expect(versionsOf(arrived, stuck).length).toBeGreaterThanOrEqual(3);
    expect(new Set(versionsOf(arrived, stuck))).toEqual(new Set([1]));
    broken = false;
    await drain(relay);
    expect(versionsOf(arrived, stuck).slice(-3)).toEqual([1, 2, 3]);
  });

  it('is kept within a round: one event of an aggregate is under way at a time', async () => {
    const id = newThing();
    await log.store.append(Array.from({ length: 4 }, (_, n) => counted(id, n)));
    const { relay } = createTestRelay(log, { concurrency: 10, deliver: async () => {} });
    expect(await relay.processOutbox()).toBe(1);
    expect(await rowsOf(id)).toMatchObject([{ state: 'done' }, { attempts: 0 }, { attempts: 0 }, { attempts: 0 }]);
  });

  it('is kept while a lease is held: nobody else takes the next one', async () => {
    const id = newThing();
    await log.store.append([counted(id, 1), counted(id, 2)]);
    const claim = { destination: 'left', owner: 'first', limit: 10, leaseSeconds: 60, blockedByDead: false };
    expect(await claimDeliveries(log.db, claim)).toHaveLength(1);
    expect(await claimDeliveries(log.db, { ...claim, owner: 'second' })).toEqual([]);
  });

  it('is kept by eight relays at once, and every effect is there once', async () => {
    const ids = Array.from({ length: 50 }, newThing);
    await Promise.all(
      ids.map(async (id) => await log.store.append(Array.from({ length: 5 }, (_, n) => counted(id, n)))),
    );
    const arrived: Arrival[] = [];
    let underWay = 0;
    let mostUnderWay = 0;
    const busy = new Set<string>();
    const overlaps: string[] = [];
    const relays = Array.from({ length: 8 }, () =>
      createTestRelay(log, {
        async deliver(delivery) {
          const { aggregateId } = delivery.event;
          if (busy.has(aggregateId)) overlaps.push(aggregateId);
          busy.add(aggregateId);
          underWay += 1;
          mostUnderWay = Math.max(mostUnderWay, underWay);
          await new Promise((resolve) => setImmediate(resolve));
          arrived.push(arrivalOf(delivery));
          underWay -= 1;
          busy.delete(aggregateId);
        },
      }),
    );
    for (const { relay } of relays) relay.start();
    await eventually(async () => await Promise.resolve(arrived.length >= 250 ? true : undefined));
    await Promise.all(relays.map(async (each) => await each.stop()));
    expect(arrived).toHaveLength(250);
    for (const id of ids) expect(versionsOf(arrived, id)).toEqual([1, 2, 3, 4, 5]);
    expect(overlaps).toEqual([]);
    expect(mostUnderWay).toBeGreaterThan(5);
    const { rows } = await sql`select state, attempts, count(*)::int from outbox group by 1, 2`.execute(log.db);
    expect(rows).toEqual([{ state: 'done', attempts: 1, count: 250 }]);
  });
});

describe('a destination that is away', () => {
  it('burns no attempt and gets everything in order when it is back', async () => {
    const ids = Array.from({ length: 3 }, newThing);
    for (const id of ids) await log.store.append([counted(id, 1), counted(id, 2)]);
    let away = true;
    let asked = 0;
    const arrived: Arrival[] = [];
    const { relay } = createTestRelay(log, {
      mostAttempts: 2,
      async deliver(delivery) {
        asked += 1;
        await Promise.resolve();
        if (away) throw new UnavailableError('nobody home');
        arrived.push(arrivalOf(delivery));
      },
    });
    for (let round = 0; round < 6; round += 1) await relay.processOutbox();
    for (const id of ids) {
      expect((await rowsOf(id)).map(({ state, attempts }) => ({ state, attempts }))).toEqual([
        { state: 'pending', attempts: 0 },
        { state: 'pending', attempts: 0 },
      ]);
    }
    // Once it is known to be away, one delivery a round asks whether it is back.
    expect(asked).toBe(3 + 5);
    away = false;
    await drain(relay);
    for (const id of ids) {
      expect(versionsOf(arrived, id)).toEqual([1, 2]);
      expect(await rowsOf(id)).toMatchObject([
        { state: 'done', attempts: 1 },
        { state: 'done', attempts: 1 },
      ]);
    }
    expect(arrived.every((arrival) => arrival.attempts === 1)).toBe(true);
  });

  it('is asked by its loop again and again, more slowly than new work comes in', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    let away = true;
    const asked: number[] = [];
    const test = createTestRelay(log, {
      async deliver() {
        asked.push(performance.now());
        await Promise.resolve();
        if (away) throw new UnavailableError('nobody home');
      },
    });
    test.relay.start();
    // It is poked all the time, and comes round no sooner.
    await eventually(async () => {
      test.wakeUp.poke();
      return await Promise.resolve(asked.length >= 2 ? true : undefined);
    });
    const [first = 0, second = 0] = asked;
    expect(second - first).toBeGreaterThan(900);
    expect((await rowsOf(id))[0]?.state).toBe('pending');
    away = false;
    await eventually(async () => ((await rowsOf(id))[0]?.state === 'done' ? true : undefined));
    await test.stop();
  });

  it('is logged once when it goes and once when it is back; a misconfigured one every time', async () => {
    await log.store.append(made(newThing()));
    let problem: Error | undefined = new UnavailableError('nobody home');
    const test = createTestRelay(log, {
      async deliver() {
        await Promise.resolve();
        if (problem !== undefined) throw problem;
      },
    });
    const said = (what: RegExp): number => test.logged.filter((line) => what.test(line)).length;
    for (let round = 0; round < 3; round += 1) await test.relay.processOutbox();
    expect(said(/away and paused/)).toBe(1);
    problem = new DestinationMisconfiguredError('no such namespace');
    for (let round = 0; round < 3; round += 1) await test.relay.processOutbox();
    expect(said(/is misconfigured/)).toBe(3);
    problem = undefined;
    await drain(test.relay);
    expect(said(/answers again/)).toBe(1);
    const { rows } = await sql`select state, attempts from outbox where destination = 'left'`.execute(log.db);
    expect(rows).toEqual([{ state: 'done', attempts: 1 }]);
  });

  it('delays no other destination', async () => {
    const event = made(newThing());
    await log.store.append(event);
    const left = createTestRelay(log, { deliver: async () => await Promise.reject(new UnavailableError('away')) });
    const right = createTestRelay(log, { destination: 'right', deliver: async () => {} });
    await left.relay.processOutbox();
    await right.relay.processOutbox();
    expect(await rowsOf(event.aggregateId, 'left')).toMatchObject([{ state: 'pending', attempts: 0 }]);
    expect(await rowsOf(event.aggregateId, 'right')).toMatchObject([{ state: 'done' }]);
  });
});

describe('a delivery that comes too early', () => {
  it('gets its attempt back, keeps its place, and comes again when it said', async () => {
    const id = newThing();
    await log.store.append([counted(id, 1), counted(id, 2)]);
    let early = true;
    const arrived: Arrival[] = [];
    const { relay } = createTestRelay(log, {
      mostAttempts: 1,
      async deliver(delivery) {
        await Promise.resolve();
        if (early) return { kind: 'wait', reason: 'its saga is not started', milliseconds: 60_000 };
        arrived.push(arrivalOf(delivery));
        return undefined;
      },
    });
    expect(await relay.processOutbox()).toBe(1);
    expect(await relay.processOutbox()).toBe(0);
    expect(await rowsOf(id)).toMatchObject([
      { state: 'pending', attempts: 0, last_error: 'its saga is not started', locked_by: null },
      { state: 'pending', attempts: 0 },
    ]);
    const { rows } = await sql<{ seconds: number }>`
      select extract(epoch from next_attempt_at - now())::float8 as seconds from outbox
      where aggregate_id = ${id} and version = 1`.execute(log.db);
    expect(rows[0]?.seconds).toBeGreaterThan(50);
    early = false;
    await letTimePass();
    await drain(relay);
    expect(versionsOf(arrived, id)).toEqual([1, 2]);
  });
});

describe('a dead letter', () => {
  it('is made after the most attempts, with the last error, and is not tried again', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    let asked = 0;
    const { relay, logged } = createTestRelay(log, {
      mostAttempts: 3,
      async deliver() {
        asked += 1;
        return await Promise.reject(new Error(`no, for the ${asked}. time`));
      },
    });
    for (let round = 0; round < 5; round += 1) {
      await drain(relay);
      await letTimePass();
    }
    expect(asked).toBe(3);
    expect(await rowsOf(id)).toMatchObject([
      { state: 'dead', attempts: 3, published: false, last_error: 'Error: no, for the 3. time', locked_by: null },
    ]);
    expect(logged).toContain('delivery is a dead letter');
  });

  it('is made at once where repeating cannot help', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    const { relay } = createTestRelay(log, {
      deliver: async () => await Promise.reject(new PermanentDeliveryError('never')),
    });
    await relay.processOutbox();
    expect(await rowsOf(id)).toMatchObject([
      { state: 'dead', attempts: 1, last_error: 'PermanentDeliveryError: never' },
    ]);
  });

  it.each([
    ['continue', [2, 3]],
    ['block', []],
  ] as const)('lets the later events of its aggregate %s', async (afterDeadLetter, later) => {
    const [id, other] = [newThing(), newThing()];
    await log.store.append([counted(id, 1), counted(id, 2), counted(id, 3)]);
    await log.store.append(counted(other, 1));
    const arrived: Arrival[] = [];
    const { relay } = createTestRelay(log, {
      afterDeadLetter,
      async deliver(delivery) {
        await Promise.resolve();
        if (delivery.event.aggregateId === id && delivery.event.version === 1)
          throw new PermanentDeliveryError('never');
        arrived.push(arrivalOf(delivery));
      },
    });
    await drain(relay);
    expect(versionsOf(arrived, id)).toEqual(later);
    expect(versionsOf(arrived, other)).toEqual([1]);
    expect((await rowsOf(id)).map((row) => row.state)).toEqual(
      afterDeadLetter === 'continue' ? ['dead', 'done', 'done'] : ['dead', 'pending', 'pending'],
    );
  });

  it('that is sent again comes marked as redelivered, past those that went on without it', async () => {
    const id = newThing();
    await log.store.append([counted(id, 1), counted(id, 2)]);
    await sql`update outbox set state = 'pending', redelivered = true, version = 9
      where aggregate_id = ${id} and version = 2`.execute(log.db);
    const arrived: Delivery[] = [];
    const { relay } = createTestRelay(log, { deliver: async (delivery) => void arrived.push(delivery) });
    await relay.processOutbox();
    expect(new Map(arrived.map(({ event, redelivered }) => [event.version, redelivered]))).toEqual(
      new Map([
        [1, false],
        [9, true],
      ]),
    );
  });

  it('keeps the end of a long error off the row', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    const { relay } = createTestRelay(log, {
      deliver: async () => await Promise.reject(new PermanentDeliveryError('x'.repeat(100_000))),
    });
    await relay.processOutbox();
    expect((await rowsOf(id))[0]?.last_error).toHaveLength(2000);
  });

  it('names every handler that failed, and whatever was thrown', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    const { relay } = createTestRelay(log, {
      deliver: async () =>
        await Promise.reject(
          new AggregateError([new Error('one'), 'two', undefined], '3 of 4 handlers failed (a, b, c)'),
        ),
    });
    await relay.processOutbox();
    expect((await rowsOf(id))[0]?.last_error).toBe('3 of 4 handlers failed (a, b, c): Error: one; two; undefined');
  });
});

describe('a lease', () => {
  const claim = { destination: 'left', owner: 'first', limit: 10, leaseSeconds: 60, blockedByDead: false };

  it('counts the attempt when it is taken, so that one which kills its process is counted', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    await claimDeliveries(log.db, claim);
    expect(await rowsOf(id)).toMatchObject([{ attempts: 1, locked_by: 'first' }]);
    await letTimePass();
    const [again] = await claimDeliveries(log.db, { ...claim, owner: 'second' });
    expect(again?.attempts).toBe(2);
  });

  it('makes a delivery that kills its process every time a dead letter in the end, untried', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    for (let crash = 0; crash < 3; crash += 1) {
      expect(await claimDeliveries(log.db, { ...claim, owner: `crash-${crash}` })).toHaveLength(1);
      await letTimePass();
    }
    let asked = 0;
    const { relay } = createTestRelay(log, { mostAttempts: 3, deliver: async () => void (asked += 1) });
    await drain(relay);
    expect(asked).toBe(0);
    expect(await rowsOf(id)).toMatchObject([{ state: 'dead', last_error: 'no attempt of 3 came to an end' }]);
  });

  it('whose owner died gives its delivery out first, and alone, so that it takes no other with it again', async () => {
    const ids = Array.from({ length: 3 }, newThing);
    for (const id of ids) await log.store.append(counted(id, 1));
    expect(await claimDeliveries(log.db, claim)).toHaveLength(3);
    await letTimePass();
    const fresh = newThing();
    await log.store.append(counted(fresh, 1));
    const claimed: string[][] = [];
    for (let n = 2; n <= 5; n += 1) {
      const rows = await claimDeliveries(log.db, { ...claim, owner: `relay-${n}` });
      claimed.push(rows.map((row) => row.aggregate_id));
    }
    expect(claimed.map((some) => some.length)).toEqual([1, 1, 1, 1]);
    expect(claimed.slice(0, 3).flat().toSorted()).toEqual(ids.toSorted());
    expect(claimed[3]).toEqual([fresh]);
  });

  it('that has run out is taken over, and then what the late owner reports hits nothing', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    const [row] = await claimDeliveries(log.db, claim);
    const late = { destination: 'left', owner: 'first' };
    const rowId = row?.id ?? '';
    await letTimePass();
    expect(await claimDeliveries(log.db, { ...claim, owner: 'second' })).toHaveLength(1);
    expect(await completeDeliveries(log.db, late, [rowId])).toBe(0);
    await giveBack(log.db, late, [rowId], { milliseconds: 0, reason: 'late' });
    await recordFailure(log.db, late, rowId, { error: 'late', retryInMilliseconds: undefined });
    expect(await rowsOf(id)).toMatchObject([{ state: 'pending', attempts: 2, locked_by: 'second', last_error: null }]);
    expect(await completeDeliveries(log.db, { ...late, owner: 'second' }, [rowId])).toBe(1);
    await recordFailure(log.db, late, rowId, { error: 'later', retryInMilliseconds: undefined });
    expect(await rowsOf(id)).toMatchObject([{ state: 'done' }]);
  });

  it('that a relay has lost is said in its log, and the delivery stays the other one’s', async () => {
    const id = newThing();
    await log.store.append(counted(id, 1));
    const { relay, logged } = createTestRelay(log, {
      async deliver() {
        await letTimePass();
        await claimDeliveries(log.db, { ...claim, owner: 'second' });
      },
    });
    await relay.processOutbox();
    expect(logged).toContain('a lease was lost; its delivery comes again');
    expect(await rowsOf(id)).toMatchObject([{ state: 'pending', locked_by: 'second', attempts: 2 }]);
  });

  it('is fenced by destination, too', async () => {
    const event = made(newThing());
    await log.store.append(event);
    await claimDeliveries(log.db, claim);
    await claimDeliveries(log.db, { ...claim, destination: 'right' });
    expect(await completeDeliveries(log.db, { destination: 'left', owner: 'first' }, [event.eventId])).toBe(1);
    expect(await rowsOf(event.aggregateId, 'right')).toMatchObject([{ state: 'pending', locked_by: 'first' }]);
  });

  it('is taken once, by however many relays that ask at the same time', async () => {
    const ids = Array.from({ length: 20 }, newThing);
    for (const id of ids) await log.store.append(counted(id, 1));
    const claims = await Promise.all(
      Array.from(
        { length: 10 },
        async (_, n) => await claimDeliveries(log.db, { ...claim, owner: `o-${n}`, limit: 20 }),
      ),
    );
    const taken = claims.flat().map((row) => row.id);
    expect(taken).toHaveLength(new Set(taken).size);
    expect(taken).toHaveLength(20);
  });
});

describe('the loop', () => {
  it('leaves a heartbeat of its destination in the database, and knows its own age', async () => {
    const test = createTestRelay(log, { deliver: async () => {} });
    expect(test.relay.loopAgeMilliseconds()).toBeUndefined();
    test.relay.start();
    const [age] = await eventually(async () => {
      const ages = await readLoopAges(log.db);
      return ages.length > 0 ? ages : undefined;
    });
    expect(age).toEqual({ destination: 'left', ageSeconds: expect.any(Number) as number });
    expect(age?.ageSeconds).toBeLessThan(5);
    expect(test.relay.loopAgeMilliseconds()).toBeLessThan(5_000);
    await test.stop();
  });

  it('goes on after a round that failed', async () => {
    const id = newThing();
    const test = createTestRelay(log, { deliver: async () => {} });
    await sql`alter table outbox rename to outbox_away`.execute(log.db);
    try {
      test.relay.start();
      await eventually(async () => await Promise.resolve(test.logged.length > 0 ? true : undefined));
      expect(test.logged[0]).toMatch(/^relay round failed; the loop goes on: .*outbox/);
    } finally {
      await sql`alter table outbox_away rename to outbox`.execute(log.db);
    }
    await log.store.append(counted(id, 1));
    await eventually(async () => ((await rowsOf(id))[0]?.state === 'done' ? true : undefined));
    await test.stop();
  });

  it('when it is stopped waits for what is under way, and claims no more', async () => {
    const [first, second] = [newThing(), newThing()];
    await log.store.append(counted(first, 1));
    const started = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const test = createTestRelay(log, {
      async deliver() {
        started.resolve();
        await finish.promise;
      },
    });
    test.relay.start();
    await started.promise;
    await log.store.append([counted(second, 1)]);
    let stopped = false;
    const stopping = test.stop().then(() => {
      stopped = true;
    });
    test.wakeUp.poke();
    await sql`select 1`.execute(log.db);
    expect(stopped).toBe(false);
    finish.resolve();
    await stopping;
    expect(await rowsOf(first)).toMatchObject([{ state: 'done' }]);
    expect(await rowsOf(second)).toMatchObject([{ state: 'pending', attempts: 0, locked_by: null }]);
  });

  it('that is started twice runs once, and one that never ran can be stopped', async () => {
    await createTestRelay(log, { deliver: async () => {} }).stop();
    let rounds = 0;
    const id = newThing();
    await log.store.append(counted(id, 1));
    const test = createTestRelay(log, { deliver: async () => void (rounds += 1) });
    test.relay.start();
    test.relay.start();
    await eventually(async () => ((await rowsOf(id))[0]?.state === 'done' ? true : undefined));
    await test.stop();
    expect(rounds).toBe(1);
  });
});
