// Redis for the test files that ask for it.
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { findRedisServer } from '../../src/embedded/binaries/programs.ts';
import { startChild, stopChild, type Adopt, type Child } from '../../src/embedded/children/child.ts';
import { findFreePort } from '../../src/embedded/children/free-port.ts';
import { lastWords, openLog } from '../../src/embedded/children/log-file.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';

export type TestRedis = Readonly<{
  url: string;
  /** The server's own process, to be killed by a fault test; undefined where REDIS_URL names one that is not ours. */
  pid: number | undefined;
  stop(): Promise<void>;
}>;

/** REDIS_URL where it is set (not emptied: use names of your own), or else a fresh, empty Redis for the caller alone. */
export async function startRedis(): Promise<TestRedis> {
  const given = process.env['REDIS_URL'];
  if (given !== undefined && given !== '') return { url: given, pid: undefined, stop: async () => undefined };
  return await startOwnRedis();
}

export type OwnRedis = Readonly<{
  url: string;
  pid: number;
  /** kill -9, and its end. */
  kill(): Promise<void>;
  /** Again at the same place, with what SAVE has written there, or else empty. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}>;

/** A fresh, empty Redis for the caller alone, who may kill it. It writes nothing down unless it is told to SAVE. */
export async function startOwnRedis(): Promise<OwnRedis> {
  const program = await findRedisServer({
    environment: process.env,
    report: (line) => process.stderr.write(`set-up: ${line}\n`),
  });
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-redis-'));
  const port = await findFreePort();
  const watchdog = startWatchdog(process.env);
  const launch = async (): Promise<Child> => await launchRedis({ program, folder, port, adopt: watchdog.adopt });
  const stop = async (): Promise<void> => {
    await stopChild(child, [
      { signal: 'SIGTERM', waitMs: 3000 },
      { signal: 'SIGKILL', waitMs: 2000 },
    ]);
    await watchdog.release();
    rmSync(folder, { recursive: true, force: true });
  };
  let child = await launch();
  watchdog.removeAfterwards(folder);
  const url = `redis://127.0.0.1:${port}`;
  const untilItAnswers = async (): Promise<void> => {
    for (const limit = Date.now() + 10_000; !(await answers(url)); await delay(30)) {
      if (!child.hasEnded() && Date.now() < limit) continue;
      const cause = lastWords(join(folder, 'redis.log'));
      await stop();
      throw new Error(`Redis does not start: ${cause}`);
    }
  };
  await untilItAnswers();
  return {
    url,
    get pid() {
      return child.pid;
    },
    async kill() {
      child.signal('SIGKILL');
      await child.ended;
    },
    async restart() {
      child = await launch();
      await untilItAnswers();
    },
    stop,
  };
}

type Launch = Readonly<{ program: string; folder: string; port: number; adopt: Adopt }>;

async function launchRedis({ program, folder, port, adopt }: Launch): Promise<Child> {
  const output = openLog(join(folder, 'redis.log'));
  try {
    return await startChild({
      program,
      args: ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--save', '', '--appendonly', 'no'],
      environment: process.env,
      output,
      folder,
      adopt,
    });
  } finally {
    closeSync(output);
  }
}

async function answers(url: string): Promise<boolean> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return (await client.ping()) === 'PONG';
  } catch {
    return false;
  } finally {
    client.disconnect();
  }
}
