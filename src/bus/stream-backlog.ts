// How much the bus holds in Redis that no handler is done with.
import type { RedisConnection } from '../platform/redis.ts';
import { partitions, streamOf } from './redis-streams.ts';

/** Entries by partition: what is acknowledged is deleted, so a stream holds what is still to be handled. */
export async function readStreamBacklog(redis: RedisConnection, prefix: string): Promise<ReadonlyMap<number, number>> {
  const lengths = partitions.map(
    async (partition) => [partition, await redis.xlen(streamOf(prefix, partition))] as const,
  );
  return new Map(await Promise.all(lengths));
}
