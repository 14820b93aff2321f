// Hears other processes' NOTIFY on a connection of its own, notices when it has gone deaf, and says so once.
import { randomUUID } from 'node:crypto';
import { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import pg from 'pg';
import type { Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';

/** How often it is asked whether NOTIFY still comes through, and how long an answer may take. */
export type ListenerPace = Readonly<{ probeEveryMilliseconds: number; answerWithinMilliseconds: number }>;

export type ListenerDeps = Readonly<{
  /** Its probes go out here, as other processes' NOTIFY do: never over the connection that listens. */
  db: Db;
  /** Of a direct connection: LISTEN needs one session of the server for itself. */
  url: string;
  channel: string;
  /** Also after every connect, for what was not heard meanwhile. */
  onNotify: () => void;
  logger: Logger;
  signal: AbortSignal;
  pace?: ListenerPace | undefined;
}>;

const defaultPace: ListenerPace = { probeEveryMilliseconds: 10_000, answerWithinMilliseconds: 5_000 };
const longestPauseMilliseconds = 30_000;
const goodbyeMilliseconds = 500;

/** Why a connection is given up. The same again is not said again before one has worked for a while. */
type Trouble = Readonly<{ said: string; error?: unknown }>;
const failed = (error: unknown): Trouble => ({ said: 'LISTEN failed; polling goes on', error });
const lost = (error: unknown): Trouble => ({ said: 'LISTEN connection lost; polling goes on', error });
const deaf: Trouble = {
  said: 'LISTEN hears no NOTIFY, as behind a pooler; polling goes on. DATABASE_DIRECT_URL leads past one',
};

/**
 * Until `signal` aborts; never rejects. A lost connection costs latency only, and is made again: soon at first, then more
 * and more slowly.
 */
export async function listen(deps: ListenerDeps): Promise<void> {
  const { logger, signal } = deps;
  const said = new Set<string>();
  let troubles = 0;
  const onSteady = (): void => {
    if (said.size > 0) logger.info('LISTEN works again');
    said.clear();
    troubles = 0;
  };
  while (!signal.aborted) {
    const { said: text, error } = await listenOnce(deps, onSteady);
    if (signal.aborted) return;
    logger[said.has(text) ? 'debug' : 'warn'](error === undefined ? {} : { err: error }, text);
    said.add(text);
    const pause = Math.min(longestPauseMilliseconds, 500 * 2 ** Math.min(10, troubles));
    troubles += 1;
    await sleep(pause, undefined, { signal }).catch(() => undefined);
  }
}

/** One connection, until it fails, hears nothing any more, or is told to end. `onSteady`: it has heard two probes. */
async function listenOnce(deps: ListenerDeps, onSteady: () => void): Promise<Trouble> {
  const { url, channel, onNotify, signal, pace = defaultPace } = deps;
  // Ours to destroy: a half-open connection answers no farewell either.
  const socket = new Socket();
  const client = new pg.Client({
    connectionString: url,
    stream: () => socket,
    keepAlive: true,
    connectionTimeoutMillis: pace.answerWithinMilliseconds,
    query_timeout: pace.answerWithinMilliseconds,
    application_name: 'athyper-listen',
  });
  const over = Promise.withResolvers<never>();
  over.promise.catch(() => undefined);
  client.on('error', over.reject);
  client.on('end', () => over.reject(new Error('the server has closed it')));
  const onAbort = (): void => over.reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  let connected = false;
  try {
    await Promise.race([client.connect(), over.promise]);
    client.on('notification', ({ payload }) => {
      if (!isProbe(payload)) onNotify();
    });
    await Promise.race([client.query(`listen ${channel}`), over.promise]);
    connected = true;
    onNotify();
    for (let heard = 0; ;) {
      const result = await Promise.race([probe(client, deps, pace), over.promise]);
      if (result === 'deaf') return heard === 0 ? deaf : lost(new Error('it hears no NOTIFY any more'));
      if (result === 'hears' && (heard += 1) === 2) onSteady();
      await Promise.race([sleep(pace.probeEveryMilliseconds, undefined, { signal }), over.promise]);
    }
  } catch (error) {
    return connected ? lost(error) : failed(error);
  } finally {
    signal.removeEventListener('abort', onAbort);
    await hangUp(client, socket);
  }
}

const probePrefix = 'probe ';
/** One's own and other processes': news for nobody. */
const isProbe = (payload: string | undefined): boolean => payload?.startsWith(probePrefix) ?? false;

/**
 * Whether the connection answers, and hears what is sent over another one. A pooler may take LISTEN and never bring a
 * NOTIFY; a dead line may look open.
 * @returns `unknown` where the probe could not be sent, which is nothing against this connection
 * @throws where the connection does not answer
 */
async function probe(
  client: pg.Client,
  { db, channel }: ListenerDeps,
  { answerWithinMilliseconds }: ListenerPace,
): Promise<'hears' | 'deaf' | 'unknown'> {
  // Also mends what a pooler may have done to the session meanwhile.
  await client.query(`listen ${channel}`);
  const payload = `${probePrefix}${randomUUID()}`;
  const answer = Promise.withResolvers<'hears' | 'deaf' | 'unknown'>();
  const onNotification = (heard: pg.Notification): void => {
    if (heard.payload === payload) answer.resolve('hears');
  };
  client.on('notification', onNotification);
  let timer = setTimeout(() => answer.resolve('unknown'), answerWithinMilliseconds);
  try {
    await Promise.race([sql`select pg_notify(${channel}, ${payload})`.execute(db), answer.promise]);
    clearTimeout(timer);
    timer = setTimeout(() => answer.resolve('deaf'), answerWithinMilliseconds);
    return await answer.promise;
  } catch {
    return 'unknown';
  } finally {
    clearTimeout(timer);
    client.off('notification', onNotification);
  }
}

/** In order where the server still answers. */
async function hangUp(client: pg.Client, socket: Socket): Promise<void> {
  const impatience = new AbortController();
  await Promise.race([
    client.end().catch(() => undefined),
    sleep(goodbyeMilliseconds, undefined, { signal: impatience.signal }).catch(() => undefined),
  ]);
  impatience.abort();
  socket.destroy();
}
