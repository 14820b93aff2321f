// A Redis that loses what it held: filled again from the outbox, so that nothing is lost and each effect happens once.
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { lookAtRedis } from '../../../src/bus/redis-epoch.ts';
import { partitionOf, streamOf, toWire } from '../../../src/bus/redis-streams.ts';
import type { Deliver } from '../../../src/outbox/delivery.ts';
import { beginEpoch, holdEpoch, readEpoch } from '../../../src/outbox/delivery-epochs.ts';
import { redeliverSince } from '../../../src/outbox/redeliver-since.ts';
import { retireStores } from '../../../src/outbox/retire-stores.ts';
import { effectsOf, recorder, tableOfEffects } from '../../support/effects.ts';
import { counted, newThing, startEventLog, storedAt, type EventLog } from '../../support/event-log.ts';
import { makeRedisBus, makeRedisRelay, wipe, type RedisBusOptions, type RedisRelay } from '../../support/redis-bus.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { createHold, eventually } from '../../support/saga-service.ts';

let redis: TestRedis;
let admin: Redis;
let log: EventLog;
let prefix: string;
let open: { close(): Promise<void> }[];
beforeAll(async () => {
  redis = await startRedis();
  admin = new Redis(redis.url);
  log = await startEventLog({ poolSize: 40 });
  await tableOfEffects.execute(log.db);
});
afterAll(async () => {
  await log.stop();
  admin.disconnect();
  await redis.stop();
});
beforeEach(async () => {
  prefix = `test-${randomUUID()}`;
  open = [];
  await sql`truncate outbox, outbox_lanes, delivery_epochs`.execute(log.db);
});
afterEach(async () => {
  await Promise.all(open.map(async (each) => await each.close()));
});

const relay = (options: RedisBusOptions & { around?: (deliver: Deliver) => Deliver } = {}): RedisRelay => {
  const made = makeRedisRelay(log, redis.url, prefix, options);
  open.push({ close: made.stop });
  return made;
};
const startedRelay = (options: RedisBusOptions = {}): RedisRelay => {
  const made = relay(options);
  made.relay.start();
  return made;
};
const consumer = (): void => {
  const { bus } = makeRedisBus(log, redis.url, prefix, { destination: 'left' });
  open.push(bus);
  bus.subscribe('thing.counted', recorder('counting'), { name: 'counting' });
  bus.consume();
};
const append = async (id: string, from: number, to: number): Promise<void> => {
  for (let n = from; n <= to; n += 1) await log.store.append(counted(id, n));
};
const upTo = (last: number): readonly number[] => Array.from({ length: last }, (_, index) => index + 1);
const effects = async (id: string): Promise<readonly number[]> =>
  (await effectsOf(log, id)).map(({ version }) => version);
const untilEffects = async (id: string, count: number): Promise<void> =>
  void (await eventually(async () => ((await effects(id)).length >= count ? true : undefined)));
const rows = async () => await log.db.selectFrom('outbox').selectAll().orderBy('position').execute();
const untilDone = async (): Promise<void> =>
  void (await eventually(async () => ((await rows()).every(({ state }) => state === 'done') ? true : undefined)));
const epoch = async () =>
  (
    await sql<{ epoch: string; run_id: string | null; isSafe: boolean }>`
    select epoch, run_id, not exists (
      select from outbox where published and published_at >= safe_until) as "isSafe"
    from delivery_epochs where store = ${prefix}`.execute(log.db)
  ).rows[0];
const untilSafe = async (): Promise<void> =>
  void (await eventually(async () => ((await epoch())?.isSafe === true ? true : undefined)));
/** Older than what the database's clock may have been set by. */
const age = async (): Promise<void> =>
  void (await sql`update outbox set published_at = published_at - interval '1 minute'`.execute(log.db));
const refills = (...of: readonly RedisRelay[]): readonly string[] =>
  of.flatMap(({ busLogged }) => busLogged.filter((line) => line.startsWith('put back into the outbox')));
/** A relay's delivery, held before or after its entry is added. */
const heldRelay = (where: 'before' | 'after') => {
  const hold = createHold();
  const made = relay({
    around: (deliver) => async (delivery) => {
      if (where === 'before') await hold.wait();
      const outcome = await deliver(delivery);
      if (where === 'after') await hold.wait();
      return outcome;
    },
  });
  return { ...made, hold };
};
const oneRound = async (of: RedisRelay): Promise<void> =>
  void (await eventually(async () => ((await of.relay.processOutbox()) > 0 ? true : undefined)));

describe('a Redis that is wiped', () => {
  it('with entries handled, under way and unread loses none: each has its effect once, in order', async () => {
    const ids = Array.from({ length: 8 }, newThing);
    const sending = startedRelay();
    for (const id of ids) await append(id, 1, 10);
    consumer();
    await Promise.all(ids.map(async (id) => await untilEffects(id, 2)));
    await wipe(admin, prefix);
    for (const id of ids) await append(id, 11, 20);
    for (const id of ids) await untilEffects(id, 20);
    for (const id of ids) expect(await effects(id)).toEqual(upTo(20));
    await untilDone();
    expect(refills(sending)).toHaveLength(1);
  });

  it('is given again only what it had not acknowledged', async () => {
    const [handled, waiting] = [newThing(), newThing()];
    startedRelay();
    await append(handled, 1, 3);
    consumer();
    await untilEffects(handled, 3);
    await untilSafe();
    await age();
    for (const each of open.splice(1)) await each.close();
    await append(waiting, 1, 2);
    await untilDone();
    await wipe(admin, prefix);
    const stream = streamOf(prefix, partitionOf(waiting));
    await eventually(async () => ((await admin.xlen(stream)) === 2 ? true : undefined));
    const lengths = await Promise.all(upTo(8).map(async (n) => await admin.xlen(streamOf(prefix, n - 1))));
    expect(lengths.toSorted((a, b) => a - b)).toEqual([0, 0, 0, 0, 0, 0, 0, 2]);
  });

  it('is filled again once by two relays that find it at the same time, and no attempt is burnt', async () => {
    const id = newThing();
    const both = [startedRelay(), startedRelay()];
    await append(id, 1, 20);
    await untilDone();
    const before = await epoch();
    await wipe(admin, prefix);
    // Both are refused, and so both look at once.
    await Promise.allSettled(both.map(async ({ bus }) => await bus.deliver(storedAt(counted(id, 21), 21))));
    await append(id, 21, 25);
    await untilDone();
    expect(new Set((await rows()).map(({ attempts }) => attempts))).toEqual(new Set([1]));
    consumer();
    await untilEffects(id, 25);
    expect(await effects(id)).toEqual(upTo(25));
    expect(refills(...both)).toHaveLength(1);
    expect((await epoch())?.epoch).not.toBe(before?.epoch);
  });

  it('makes nothing of a completion whose delivery was from before: it is delivered again', async () => {
    const id = newThing();
    const slow = heldRelay('after');
    await append(id, 1, 1);
    const round = oneRound(slow);
    await slow.hold.reached;
    await wipe(admin, prefix);
    const other = relay();
    await other.bus.begin();
    await eventually(async () => (refills(slow, other).length === 1 ? true : undefined));
    slow.hold.release();
    await round;
    expect(slow.logged).toContain('a lease was lost; its delivery comes again');
    expect(await rows()).toMatchObject([{ state: 'pending', attempts: 0 }]);
    consumer();
    other.relay.start();
    await untilEffects(id, 1);
    await untilDone();
  });

  it('does not take what was claimed before the refill: it could overtake what is put back', async () => {
    const id = newThing();
    const first = relay();
    await append(id, 1, 1);
    await oneRound(first);
    const slow = heldRelay('before');
    await append(id, 2, 2);
    const round = oneRound(slow);
    await slow.hold.reached;
    await wipe(admin, prefix);
    await eventually(async () => (refills(slow, first).length === 1 ? true : undefined));
    // The slow relay's own process knows the new epoch by now, and delivers what is claimed under it.
    let other = newThing();
    while (partitionOf(other) === partitionOf(id)) other = newThing();
    await eventually(
      async () =>
        await slow.bus.deliver(storedAt(counted(other, 1), 1)).then(
          () => true,
          () => undefined,
        ),
    );
    slow.hold.release();
    await round;
    expect(await admin.xlen(streamOf(prefix, partitionOf(id)))).toBe(0);
    first.relay.start();
    consumer();
    await untilEffects(id, 2);
    expect(await effects(id)).toEqual([1, 2]);
  });
});

describe('a refill', () => {
  it('that ends between two batches is done by the next one from its beginning', async () => {
    const ids = Array.from({ length: 6 }, newThing);
    const sending = relay();
    for (const id of ids) await append(id, 1, 2);
    await eventually(async () => {
      await sending.relay.processOutbox();
      return (await rows()).every(({ state }) => state === 'done') ? true : undefined;
    });
    const ref = { destination: 'left', store: prefix };
    let batches = 0;
    const beforeBatch = async (): Promise<void> => {
      batches += 1;
      if (batches === 3) throw new Error('killed');
      await Promise.resolve();
    };
    await expect(redeliverSince(log.db, { ...ref, batchSize: 4, beforeBatch })).rejects.toThrow('killed');
    const put = (await rows()).filter(({ state }) => state === 'pending').length;
    expect(put).toBeGreaterThan(0);
    expect(put).toBeLessThan(12);
    const rest = await redeliverSince(log.db, {
      ...ref,
      batchSize: 4,
      beforeBatch: async () => await Promise.resolve(),
    });
    expect(rest).toEqual({ published: 12 - put, claimed: 0 });
    expect((await rows()).every(({ state }) => state === 'pending')).toBe(true);
  });

  it('is done by one holder at a time, and by the next one when that one is silent', async () => {
    const ref = { destination: 'left', store: prefix };
    const { epoch: stored } = await readEpoch(log.db, ref);
    const [first, second] = [
      { ...ref, epoch: stored, holder: 'first' },
      { ...ref, epoch: stored, holder: 'second' },
    ];
    expect(await holdEpoch(log.db, first)).toBe(true);
    expect(await holdEpoch(log.db, second)).toBe(false);
    expect(await beginEpoch(log.db, second)).toBeUndefined();
    await sql`update delivery_epochs set held_until = now()`.execute(log.db);
    expect(await holdEpoch(log.db, second)).toBe(true);
    expect(await beginEpoch(log.db, first)).toBeUndefined();
    expect(await epoch()).toMatchObject({ epoch: stored });
  });

  it('waits for a lane that somebody else writes to', async () => {
    const id = newThing();
    startedRelay();
    await append(id, 1, 1);
    await untilDone();
    await log.unitOfWork(async (unit) => {
      await unit.append(counted(id, 2));
      await wipe(admin, prefix);
      await sql`select pg_sleep(0.5)`.execute(unit.tx);
    });
    consumer();
    await untilEffects(id, 2);
    expect(await effects(id)).toEqual([1, 2]);
  });
});

describe('a relay without Redis', () => {
  it('sends again what Redis had not acknowledged, and keeps nothing in the outbox for its sake', async () => {
    const id = newThing();
    const sending = startedRelay();
    await append(id, 1, 2);
    await untilDone();
    open = [];
    await sending.stop();
    expect(await retireStores(log.db, 'left')).toEqual({ published: 2, claimed: 0 });
    expect(await epoch()).toBeUndefined();
    expect(await retireStores(log.db, 'left')).toEqual({ published: 0, claimed: 0 });
  });
});

describe('the first start', () => {
  const history = async (id: string): Promise<void> => {
    await append(id, 1, 3);
    await sql`update outbox set state = 'done', published_at = now()`.execute(log.db);
  };

  it('on an empty Redis sends nothing of the history again, also when Redis is wiped afterwards', async () => {
    await history(newThing());
    const sending = startedRelay();
    await untilSafe();
    await age();
    await wipe(admin, prefix);
    await eventually(async () => (refills(sending).length === 1 ? true : undefined));
    expect((await rows()).every(({ state }) => state === 'done')).toBe(true);
  });

  it('after a version that noted nothing counts the history as settled when its last entries are handled', async () => {
    const id = newThing();
    await history(id);
    const stream = streamOf(prefix, partitionOf(id));
    await admin.xadd(stream, '*', 'event', JSON.stringify(toWire(storedAt(counted(id, 1), 1))));
    startedRelay();
    await eventually(async () => ((await epoch())?.run_id ? true : undefined));
    await append(newThing(), 1, 1);
    await untilDone();
    expect((await epoch())?.isSafe).toBe(false);
    expect((await lookAtRedis(admin, prefix, [stream])).oldest).toEqual([undefined]);
    consumer();
    await untilEffects(id, 1);
    await untilSafe();
  });
});
