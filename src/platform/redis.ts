// Redis connections. One purpose each: a blocking read would hold up everything else on its connection.
import { Redis } from 'ioredis';
import type { Logger } from './logger.ts';

export type RedisConnection = Redis;

/** Fails fast, so that the caller's own retry (the outbox, the loop) decides what happens. */
const commandMilliseconds = 3_000;

export function connectRedis(url: string, deps: Readonly<{ name: string; logger: Logger }>): RedisConnection {
  const redis = new Redis(url, {
    connectionName: deps.name,
    connectTimeout: commandMilliseconds,
    commandTimeout: commandMilliseconds,
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt) => Math.min(1_000, 50 * attempt),
    keepAlive: 5_000,
  });
  redis.on('error', (error: Error) => deps.logger.debug({ err: error }, 'Redis connection lost; reconnecting'));
  return redis;
}

/** For XREADGROUP with BLOCK: its answer may take `blockMilliseconds`, and then some. */
export function connectBlockingRedis(
  url: string,
  deps: Readonly<{ name: string; logger: Logger; blockMilliseconds: number }>,
): RedisConnection {
  const redis = connectRedis(url, deps);
  // A half-open socket never answers: past this the read is given up and made again on a new connection.
  redis.options.commandTimeout = deps.blockMilliseconds + commandMilliseconds;
  return redis;
}
