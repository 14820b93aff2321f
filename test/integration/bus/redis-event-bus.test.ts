// The bus across processes: what several consumers and a failing Redis do to it.
import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { RedisEventBus } from '../../../src/bus/redis-event-bus.ts';
import { partitionOf, streamOf } from '../../../src/bus/redis-streams.ts';
import { UnavailableError } from '../../../src/domain/errors.ts';
import type { StoredEvent } from '../../../src/domain/event.ts';
import { effectsOf, recordEffect, recorder, tableOfEffects, type Effect } from '../../support/effects.ts';
import { counted, made, newThing, startEventLog, storedAt, type EventLog } from '../../support/event-log.ts';
import { makeRedisBus, wipe } from '../../support/redis-bus.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { eventually } from '../../support/saga-service.ts';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

let redis: TestRedis;
let admin: Redis;
beforeAll(async () => {
  redis = await startRedis();
  admin = new Redis(redis.url);
});
afterAll(async () => {
  admin.disconnect();
  await redis.stop();
});

describe('RedisEventBus among others', () => {
  let log: EventLog;
  let prefix: string;
  let open: { close(): Promise<void> }[];
  beforeAll(async () => {
    log = await startEventLog({ poolSize: 30 });
    await tableOfEffects.execute(log.db);
  });
  afterAll(async () => await log.stop());
  beforeEach(() => {
    prefix = `test-${randomUUID()}`;
    open = [];
  });
  afterEach(async () => {
    await Promise.all(open.map(async (each) => await each.close()));
  });

  const start = (url = redis.url): RedisEventBus => {
    const { bus } = makeRedisBus(log, url, prefix);
    open.push(bus);
    return bus;
  };
  const consumer = (name: string, url = redis.url): RedisEventBus => {
    const bus = start(url);
    bus.subscribe('thing.counted', recorder(name), { name: 'counting' });
    bus.consume();
    return bus;
  };
  const proxied = async (): Promise<{ proxy: TcpProxy; url: string }> => {
    const target = new URL(redis.url);
    const proxy = await startTcpProxy({ host: target.hostname, port: Number(target.port) });
    open.push(proxy);
    return { proxy, url: `redis://127.0.0.1:${proxy.port}` };
  };
  const effects = async (aggregateId: string, count: number): Promise<readonly Effect[]> =>
    await eventually(async () => {
      const found = await effectsOf(log, aggregateId);
      return found.length >= count ? found : undefined;
    });
  const owners = async (): Promise<readonly (string | null)[]> =>
    await admin.mget(Array.from({ length: 8 }, (_, partition) => `${prefix}:owner:${partition}`));
  /** How many of the partitions each consumer holds. */
  const shares = async (): Promise<readonly number[]> => {
    const counts = new Map<string, number>();
    for (const owner of await owners()) if (owner !== null) counts.set(owner, (counts.get(owner) ?? 0) + 1);
    return [...counts.values()].toSorted((a, b) => a - b);
  };
  const sharedAs = async (...expected: readonly number[]): Promise<void> =>
    void (await eventually(async () => ((await shares()).join() === expected.join() ? true : undefined)));
  /** One thing in each partition. */
  const oneEach = (): readonly string[] => {
    const found = new Map<number, string>();
    while (found.size < 8) {
      const id = newThing();
      found.set(partitionOf(id), id);
    }
    return [...found.values()];
  };
  const sendCounts = async (bus: RedisEventBus, ids: readonly string[], from: number, to: number): Promise<void> => {
    for (let version = from; version <= to; version += 1) {
      for (const id of ids) await bus.deliver(storedAt(counted(id, version), version));
    }
  };
  /** As the relay does: again and again. */
  const untilSent = async (bus: RedisEventBus, event: StoredEvent): Promise<void> =>
    void (await eventually(
      async () =>
        await bus.deliver(event).then(
          () => true,
          () => undefined,
        ),
    ));
  const upTo = (last: number): readonly number[] => Array.from({ length: last }, (_, index) => index + 1);

  it('shares the partitions between two consumers, and the order of each aggregate is kept on the way', async () => {
    const ids = oneEach();
    const sender = start();
    consumer('first');
    await sharedAs(8);
    await sendCounts(sender, ids, 1, 10);
    consumer('second');
    await sendCounts(sender, ids, 11, 20);
    await sharedAs(4, 4);
    await sendCounts(sender, ids, 21, 30);
    const found = await Promise.all(ids.map(async (id) => await effects(id, 30)));
    for (const each of found) expect(each.map((effect) => effect.version)).toEqual(upTo(30));
    const last = found.map((each) => each.at(-1)?.handler);
    expect(last.filter((handler) => handler === 'first')).toHaveLength(4);
    expect(last.filter((handler) => handler === 'second')).toHaveLength(4);
  });

  it('renews the partitions of a consumer while it gives others up behind a slow handler', async () => {
    const sender = start();
    const slow = start();
    const holding = Promise.withResolvers<void>();
    slow.subscribe('thing.counted', async () => await holding.promise);
    slow.consume();
    await sharedAs(8);
    const first = await owners();
    await sendCounts(sender, oneEach(), 1, 1);
    consumer('second');
    // Every partition of the first one is busy, so it can give up none; past a lease's time it still holds them all.
    await eventually(async () => ((await admin.zcard(`${prefix}:consumers`)) === 2 ? true : undefined));
    const [seconds] = await admin.time();
    await eventually(async () => (Number((await admin.time())[0]) > Number(seconds) + 3 ? true : undefined));
    expect(await owners()).toEqual(first);
    holding.resolve();
    await sharedAs(4, 4);
  });

  it('hands over at once when a consumer closes, with what it had read and not handled', async () => {
    const id = newThing();
    const sender = start();
    const first = start();
    const started = Promise.withResolvers<void>();
    first.subscribe(
      'thing.counted',
      async (event, context) => {
        started.resolve();
        await recordEffect('first', event, context);
      },
      { name: 'counting' },
    );
    first.consume();
    await sharedAs(8);
    await sendCounts(sender, [id], 1, 30);
    await started.promise;
    await first.close();
    expect(await shares()).toEqual([]);
    await sendCounts(sender, [id], 31, 35);
    consumer('second');
    const found = await effects(id, 35);
    expect(found.map((effect) => effect.version)).toEqual(upTo(35));
    expect(found.at(-1)?.handler).toBe('second');
  });

  it('takes over from a consumer that is gone without a word, and handles what that one left pending', async () => {
    const ids = oneEach();
    const sender = start();
    const { proxy, url } = await proxied();
    const dying = start(url);
    const begun = Promise.withResolvers<void>();
    const never = new Promise<void>(() => undefined);
    let handled = 0;
    dying.subscribe('thing.counted', async () => {
      handled += 1;
      if (handled === 8) begun.resolve();
      await never;
    });
    dying.consume();
    await sharedAs(8);
    await sendCounts(sender, ids, 1, 3);
    await begun.promise;
    const pending = (await admin.xpending(streamOf(prefix, 0), 'handlers')) as [number];
    expect(pending[0]).toBeGreaterThan(0);
    proxy.cut();
    // A dead process ends nothing: only its leases run out.
    open = open.filter((each) => each !== dying);
    consumer('heir');
    for (const id of ids) {
      expect((await effects(id, 3)).map((effect) => effect.version)).toEqual([1, 2, 3]);
    }
    await sharedAs(8);
    await eventually(async () => {
      const left = await Promise.all(upTo(8).map(async (n) => await admin.xlen(streamOf(prefix, n - 1))));
      return left.every((length) => length === 0) ? true : undefined;
    });
  });

  it('acknowledges nothing before its handler has committed, and leaves nothing behind after', async () => {
    const id = newThing();
    const stream = streamOf(prefix, partitionOf(id));
    const bus = start();
    const inside = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    bus.subscribe(
      'thing.made',
      async (event, context) => {
        await recordEffect('slow', event, context);
        inside.resolve();
        await finish.promise;
      },
      { name: 'slow' },
    );
    bus.consume();
    await bus.deliver(storedAt(made(id), 1));
    await inside.promise;
    expect(await admin.xlen(stream)).toBe(1);
    expect(((await admin.xpending(stream, 'handlers')) as [number])[0]).toBe(1);
    expect(await effectsOf(log, id)).toEqual([]);
    finish.resolve();
    await effects(id, 1);
    await eventually(async () => ((await admin.xlen(stream)) === 0 ? true : undefined));
    expect(((await admin.xpending(stream, 'handlers')) as [number])[0]).toBe(0);
  });

  it('passes over an entry that was deleted while it was pending', async () => {
    const id = newThing();
    const stream = streamOf(prefix, partitionOf(id));
    const sender = start();
    await admin.xgroup('CREATE', stream, 'handlers', '0', 'MKSTREAM');
    await sendCounts(sender, [id], 1, 60);
    await admin.xreadgroup('GROUP', 'handlers', 'gone', 'COUNT', 60, 'STREAMS', stream, '>');
    const entries = await admin.xrange(stream, '-', '+');
    await admin.xdel(stream, ...entries.slice(0, 55).map(([entryId]) => entryId));
    consumer('heir');
    expect((await effects(id, 5)).map((effect) => effect.version)).toEqual([56, 57, 58, 59, 60]);
    await eventually(async () =>
      ((await admin.xpending(stream, 'handlers')) as [number])[0] === 0 ? true : undefined,
    );
  });

  it('keeps two services apart that share a Redis', async () => {
    const id = newThing();
    consumer('ours');
    const { bus: theirs } = makeRedisBus(log, redis.url);
    open.push(theirs);
    await theirs.deliver(storedAt(counted(id, 1), 1));
    await start().deliver(storedAt(counted(id, 2), 2));
    expect((await effects(id, 1)).map((effect) => effect.version)).toEqual([2]);
  });

  it('after a Redis that lost everything refuses a delivery until it is known what was lost, and works on', async () => {
    const [before, after] = [oneEach(), oneEach()];
    const sender = start();
    consumer('steady');
    await sendCounts(sender, before, 1, 2);
    for (const id of before) await effects(id, 2);
    await wipe(admin, prefix);
    const [first = ''] = after;
    await expect(sender.deliver(storedAt(counted(first, 1), 1))).rejects.toThrow(UnavailableError);
    await untilSent(sender, storedAt(counted(first, 1), 1));
    await sendCounts(sender, after.slice(1), 1, 1);
    await sendCounts(sender, after, 2, 3);
    for (const id of after) expect((await effects(id, 3)).map((effect) => effect.version)).toEqual([1, 2, 3]);
  });

  it('says that Redis is away, soon, and delivers when it is back', async () => {
    const { proxy, url } = await proxied();
    const id = newThing();
    consumer('steady', url);
    const sender = start(url);
    await sendCounts(sender, [id], 1, 1);
    await effects(id, 1);
    proxy.cut();
    for (let n = 0; n < 3; n += 1) {
      await expect(sender.deliver(storedAt(counted(id, 2), 2))).rejects.toThrow(UnavailableError);
    }
    proxy.mend();
    await eventually(
      async () =>
        await sender.deliver(storedAt(counted(id, 2), 2)).then(
          () => true,
          () => undefined,
        ),
    );
    expect((await effects(id, 2)).map((effect) => effect.version)).toEqual([1, 2]);
  });

  it('notices lines that have gone dead without a word, and works on over new ones', async () => {
    const { proxy, url } = await proxied();
    const id = newThing();
    consumer('steady', url);
    const sender = start(url);
    await sendCounts(sender, [id], 1, 1);
    await effects(id, 1);
    proxy.freeze();
    const second = storedAt(counted(id, 2), 2);
    await expect(sender.deliver(second)).rejects.toThrow(UnavailableError);
    await untilSent(sender, second);
    expect((await effects(id, 2)).map((effect) => effect.version)).toEqual([1, 2]);
  });

  it('reads on over new lines when those died while it waited for something to read', async () => {
    const { proxy, url } = await proxied();
    const id = newThing();
    const sender = start();
    consumer('steady', url);
    await sendCounts(sender, [id], 1, 1);
    await effects(id, 1);
    proxy.freeze();
    await sendCounts(sender, [id], 2, 2);
    expect((await effects(id, 2)).map((effect) => effect.version)).toEqual([1, 2]);
  });

  it('says that it does not know where Redis took an event and its answer was lost; sent again it has one effect', async () => {
    const { proxy, url } = await proxied();
    const id = newThing();
    const stream = streamOf(prefix, partitionOf(id));
    const sender = start(url);
    await sendCounts(sender, [id], 1, 1);
    proxy.freezeAnswers();
    const second = storedAt(counted(id, 2), 2);
    await expect(sender.deliver(second)).rejects.toThrow(UnavailableError);
    expect(await admin.xlen(stream)).toBe(2);
    await untilSent(sender, second);
    // Once more, or twice where an attempt met the dead line in the moment before it was given up.
    expect(await admin.xlen(stream)).toBeGreaterThanOrEqual(3);
    await sendCounts(sender, [id], 3, 3);
    consumer('steady');
    expect((await effects(id, 3)).map((effect) => effect.version)).toEqual([1, 2, 3]);
  });

  it('makes its group again where it is gone, without hammering Redis, and misses nothing', async () => {
    const id = newThing();
    const stream = streamOf(prefix, partitionOf(id));
    const sender = start();
    consumer('steady');
    await sendCounts(sender, [id], 1, 2);
    await effects(id, 2);
    await admin.xgroup('DESTROY', stream, 'handlers');
    await sendCounts(sender, [id], 3, 4);
    expect((await effects(id, 4)).map((effect) => effect.version)).toEqual([1, 2, 3, 4]);
    const calls = /cmdstat_xgroup:calls=(\d+)/.exec(await admin.info('commandstats'));
    expect(Number(calls?.[1])).toBeLessThan(500);
  });

  it('forgets the names of consumers that are gone, and none that has something pending', async () => {
    const id = newThing();
    const stream = streamOf(prefix, partitionOf(id));
    const sender = start();
    for (const version of [1, 2, 3]) {
      const bus = consumer(`number ${version}`);
      await sendCounts(sender, [id], version, version);
      await effects(id, version);
      await bus.close();
    }
    await sendCounts(sender, [id], 4, 5);
    await admin.xreadgroup('GROUP', 'handlers', 'killed', 'COUNT', 1, 'STREAMS', stream, '>');
    consumer('the last');
    expect((await effects(id, 5)).map((effect) => effect.version)).toEqual([1, 2, 3, 4, 5]);
    const names = (await admin.xinfo('CONSUMERS', stream, 'handlers')) as readonly unknown[];
    expect(names).toHaveLength(1);
  });

  it('passes over what somebody else has written into a stream, and says so', async () => {
    const id = newThing();
    const stream = streamOf(prefix, partitionOf(id));
    const { bus, logged } = makeRedisBus(log, redis.url, prefix);
    open.push(bus);
    bus.subscribe('thing.counted', recorder('steady'), { name: 'counting' });
    for (const text of ['{', '5', '{"id":7}']) await admin.xadd(stream, '*', 'event', text);
    await start().deliver(storedAt(counted(id, 1), 1));
    bus.consume();
    await effects(id, 1);
    expect(logged.filter((line) => line.startsWith('an entry holds no event'))).toHaveLength(3);
  });

  it('reads fifty entries ahead of a slow handler at most, whatever waits behind them', async () => {
    const id = newThing();
    const stream = streamOf(prefix, partitionOf(id));
    const bus = start();
    await sendCounts(bus, [id], 1, 200);
    const finish = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    bus.subscribe('thing.counted', async (event, context) => {
      begun.resolve();
      await finish.promise;
      await recordEffect('slow', event, context);
    });
    bus.consume();
    await begun.promise;
    expect(((await admin.xpending(stream, 'handlers')) as [number])[0]).toBe(50);
    finish.resolve();
    expect((await effects(id, 200)).map((effect) => effect.version)).toEqual(upTo(200));
  });

  it('refuses what would make a stream longer than its limit: Redis does not grow with the backlog', async () => {
    const id = newThing();
    const { bus } = makeRedisBus(log, redis.url, prefix, { longestStream: 5 });
    open.push(bus);
    await sendCounts(bus, [id], 1, 5);
    await expect(bus.deliver(storedAt(counted(id, 6), 6))).rejects.toThrow(/is full/);
    consumer('steady');
    await untilSent(bus, storedAt(counted(id, 6), 6));
    expect((await effects(id, 6)).map((effect) => effect.version)).toEqual(upTo(6));
  });

  it('waits for a lease’s time before it reads what lies in a Redis that has forgotten who reads it', async () => {
    const id = newThing();
    const now = async (): Promise<number> => {
      const [seconds, microseconds] = await admin.time();
      return Number(seconds) * 1_000 + Number(microseconds) / 1_000;
    };
    await start().deliver(storedAt(counted(id, 1), 1));
    const before = await now();
    consumer('new');
    await effects(id, 1);
    expect((await now()) - before).toBeGreaterThan(1_500);
  });

  it('that is closed refuses a delivery instead of waiting', async () => {
    const bus = start();
    await bus.close();
    await expect(bus.deliver(storedAt(made(newThing()), 1))).rejects.toThrow(UnavailableError);
  });

  it('closes while Redis is away', async () => {
    const { proxy, url } = await proxied();
    const bus = consumer('steady', url);
    await sharedAs(8);
    proxy.cut();
    await bus.close();
  });
});
