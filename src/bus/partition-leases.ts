// Who reads which partition: one consumer each, so that the order of an aggregate's events is kept over processes.
import type { RedisConnection } from '../platform/redis.ts';
import { partitionCount, partitions, streamOf } from './redis-streams.ts';

export type LeaseOf = Readonly<{
  prefix: string;
  consumer: string;
  /** A consumer that is killed is replaced after this; one that lives renews several times in it. */
  leaseMilliseconds: number;
}>;

export type PartitionLeases = Readonly<{
  /** Renews what is held, gives up what is over the fair share, takes what is free. @returns what is held now */
  renew(): Promise<ReadonlySet<number>>;
  /** By this process's clock, from before the last renewal that worked; negative when it has run out. */
  leftMilliseconds(partition: number): number;
  release(partition: number): Promise<void>;
  /** Before the end of the process, so that others need not wait for the leases to run out. */
  leave(): Promise<void>;
}>;

/** Compare and act in one step: a lease that ran out may be another's by now. */
const renewScript = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0`;
const releaseScript = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0`;

/**
 * A Redis that came back with older data has lost leases whose holders still read, for a lease's time at most. Nobody
 * takes one for so long where something waits to be read; where nothing does, nothing comes either (epoch-keeper.ts).
 * @returns milliseconds until partitions may be taken
 */
const settledScript = `
  local time = redis.call('time')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local server = string.match(redis.call('info', 'server'), 'run_id:(%x+)')
  local known, since = string.match(redis.call('get', KEYS[1]) or '', '^(%x+) (%d+)$')
  if known ~= server then
    since = 0
    for i = 2, #KEYS do if redis.call('xlen', KEYS[i]) > 0 then since = now end end
    redis.call('set', KEYS[1], server .. ' ' .. string.format('%.0f', since))
  end
  return math.max(0, tonumber(since) + tonumber(ARGV[1]) - now)`;

export function createPartitionLeases(redis: RedisConnection, of: LeaseOf): PartitionLeases {
  const { prefix, consumer, leaseMilliseconds } = of;
  const held = new Set<number>();
  const keyOf = (partition: number): string => `${prefix}:owner:${partition}`;
  const consumers = `${prefix}:consumers`;
  const streams = partitions.map((partition) => streamOf(prefix, partition));
  const validUntil = new Map<number, number>();

  const untilSettled = async (): Promise<number> =>
    Number(await redis.eval(settledScript, streams.length + 1, `${prefix}:leases`, ...streams, leaseMilliseconds));

  function forget(partition: number): void {
    held.delete(partition);
    validUntil.delete(partition);
  }

  async function fairShare(): Promise<number> {
    const [seconds, microseconds] = await redis.time();
    const now = Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
    await redis.zadd(consumers, now, consumer);
    await redis.zremrangebyscore(consumers, 0, now - leaseMilliseconds);
    return Math.ceil(partitionCount / Math.max(1, await redis.zcard(consumers)));
  }

  async function release(partition: number): Promise<void> {
    forget(partition);
    await redis.eval(releaseScript, 1, keyOf(partition), consumer);
  }

  async function hold(partition: number, mayTake: boolean): Promise<void> {
    const asked = performance.now();
    const key = keyOf(partition);
    if (held.has(partition)) {
      const renewed = await redis.eval(renewScript, 1, key, consumer, leaseMilliseconds);
      if (Number(renewed) === 0) forget(partition);
    } else if (mayTake && (await redis.set(key, consumer, 'PX', leaseMilliseconds, 'NX')) === 'OK') {
      held.add(partition);
    }
    if (held.has(partition)) validUntil.set(partition, asked + leaseMilliseconds);
  }

  return {
    release,
    leftMilliseconds: (partition) => (validUntil.get(partition) ?? Number.NEGATIVE_INFINITY) - performance.now(),
    async renew() {
      const share = await fairShare();
      const settled = (await untilSettled()) === 0;
      for (const partition of partitions) await hold(partition, settled && held.size < share);
      // What is over the share is still being read: the caller stops that first and then releases it.
      return new Set([...held].slice(0, share));
    },
    async leave() {
      for (const partition of held) await release(partition);
      await redis.zrem(consumers, consumer);
    },
  };
}
