// Redis connections. One purpose each: a blocking read would hold up everything else on its connection.
import { once } from 'node:events';
import { Redis, type RedisOptions } from 'ioredis';
import type { Logger } from './logger.ts';

export type RedisConnection = Redis;

/** Fails fast, so that the caller's own retry (the outbox, the loop) decides what happens. */
const commandMilliseconds = 3_000;

type Connection = Readonly<{ name: string; logger: Logger }>;

export const connectRedis = (url: string, deps: Connection): RedisConnection => connect(url, deps, commandMilliseconds);

/** For what must not be sent later than its caller believes: nothing waits for a connection that is not there. */
export const connectSendingRedis = (url: string, deps: Connection): RedisConnection =>
  connect(url, deps, commandMilliseconds, { enableOfflineQueue: false });

/** For XREADGROUP with BLOCK: its answer may take `blockMilliseconds`, and then some. */
export const connectBlockingRedis = (
  url: string,
  deps: Connection & Readonly<{ blockMilliseconds: number }>,
): RedisConnection => connect(url, deps, deps.blockMilliseconds + commandMilliseconds);

/** Resolves when commands can be sent, or after that time; never rejects. */
export async function untilReady(redis: RedisConnection, milliseconds: number): Promise<void> {
  if (redis.status === 'ready' || redis.status === 'end') return;
  await once(redis, 'ready', { signal: AbortSignal.timeout(milliseconds) }).catch(() => undefined);
}

function connect(
  url: string,
  deps: Connection,
  answerMilliseconds: number,
  options: Pick<RedisOptions, 'enableOfflineQueue'> = {},
): RedisConnection {
  const redis = new Redis(url, {
    connectionName: deps.name,
    connectTimeout: commandMilliseconds,
    commandTimeout: answerMilliseconds,
    // A half-open socket never answers: past this it is given up, and a new connection made.
    socketTimeout: answerMilliseconds,
    maxRetriesPerRequest: 0,
    // What was under way when a connection broke has failed; its caller knows whether to repeat it.
    autoResendUnfulfilledCommands: false,
    retryStrategy: (attempt) => Math.min(1_000, 50 * attempt),
    keepAlive: 5_000,
    ...options,
  });
  redis.on('error', (error: Error) => deps.logger.debug({ err: error }, 'Redis connection lost; reconnecting'));
  return redis;
}
