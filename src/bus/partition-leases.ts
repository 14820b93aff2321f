// Who reads which partition: one consumer each, so that the order of an aggregate's events is kept over processes.
import type { RedisConnection } from '../platform/redis.ts';
import { partitionCount, partitions } from './redis-streams.ts';

export type LeaseOf = Readonly<{
  prefix: string;
  consumer: string;
  /** A consumer that is killed is replaced after this; one that lives renews several times in it. */
  leaseMilliseconds: number;
}>;

export type PartitionLeases = Readonly<{
  /** Renews what is held, gives up what is over the fair share, takes what is free. @returns what is held now */
  renew(): Promise<ReadonlySet<number>>;
  release(partition: number): Promise<void>;
  /** Before the end of the process, so that others need not wait for the leases to run out. */
  leave(): Promise<void>;
}>;

/** Compare and act in one step: a lease that ran out may be another's by now. */
const renewScript = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end return 0`;
const releaseScript = `if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0`;

export function createPartitionLeases(redis: RedisConnection, of: LeaseOf): PartitionLeases {
  const { prefix, consumer, leaseMilliseconds } = of;
  const held = new Set<number>();
  const keyOf = (partition: number): string => `${prefix}:owner:${partition}`;
  const consumers = `${prefix}:consumers`;

  async function fairShare(): Promise<number> {
    const [seconds, microseconds] = await redis.time();
    const now = Number(seconds) * 1000 + Math.floor(Number(microseconds) / 1000);
    await redis.zadd(consumers, now, consumer);
    await redis.zremrangebyscore(consumers, 0, now - leaseMilliseconds);
    return Math.ceil(partitionCount / Math.max(1, await redis.zcard(consumers)));
  }

  async function release(partition: number): Promise<void> {
    held.delete(partition);
    await redis.eval(releaseScript, 1, keyOf(partition), consumer);
  }

  return {
    release,
    async renew() {
      const share = await fairShare();
      for (const partition of partitions) {
        if (held.has(partition)) {
          const renewed = await redis.eval(renewScript, 1, keyOf(partition), consumer, leaseMilliseconds);
          if (Number(renewed) === 0) held.delete(partition);
        } else if (held.size < share) {
          const taken = await redis.set(keyOf(partition), consumer, 'PX', leaseMilliseconds, 'NX');
          if (taken === 'OK') held.add(partition);
        }
      }
      // What is over the share is still being read: the caller stops that first and then releases it.
      return new Set([...held].slice(0, share));
    },
    async leave() {
      for (const partition of held) await release(partition);
      await redis.zrem(consumers, consumer);
    },
  };
}
