// Redis connections. One purpose each: a blocking read would hold up everything else on its connection.
import { Redis } from 'ioredis';
import type { Logger } from './logger.ts';

export type RedisConnection = Redis;

/** Fails fast, so that the caller's own retry (the outbox, the loop) decides what happens. */
const commandMilliseconds = 3_000;

type Connection = Readonly<{ name: string; logger: Logger }>;

export const connectRedis = (url: string, deps: Connection): RedisConnection => connect(url, deps, commandMilliseconds);

/** For XREADGROUP with BLOCK: its answer may take `blockMilliseconds`, and then some. */
export const connectBlockingRedis = (
  url: string,
  deps: Connection & Readonly<{ blockMilliseconds: number }>,
): RedisConnection => connect(url, deps, deps.blockMilliseconds + commandMilliseconds);

function connect(url: string, deps: Connection, answerMilliseconds: number): RedisConnection {
  const redis = new Redis(url, {
    connectionName: deps.name,
    connectTimeout: commandMilliseconds,
    commandTimeout: answerMilliseconds,
    // A half-open socket never answers: past this it is given up, and a new connection made.
    socketTimeout: answerMilliseconds,
    maxRetriesPerRequest: 0,
    retryStrategy: (attempt) => Math.min(1_000, 50 * attempt),
    keepAlive: 5_000,
  });
  redis.on('error', (error: Error) => deps.logger.debug({ err: error }, 'Redis connection lost; reconnecting'));
  return redis;
}
