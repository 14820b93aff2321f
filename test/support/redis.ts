// Redis for the test files that ask for it.
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { findRedisServer } from '../../src/embedded/binaries/programs.ts';
import { startChild, stopChild } from '../../src/embedded/children/child.ts';
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
  const program = await findRedisServer({
    environment: process.env,
    report: (line) => process.stderr.write(`set-up: ${line}\n`),
  });
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-redis-'));
  const port = await findFreePort();
  const log = join(folder, 'redis.log');
  const output = openLog(log);
  const watchdog = startWatchdog(process.env);
  const child = await startChild({
    program,
    args: ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--save', '', '--appendonly', 'no'],
    environment: process.env,
    output,
    folder,
    adopt: watchdog.adopt,
  });
  closeSync(output);
  watchdog.removeAfterwards(folder);
  const stop = async () => {
    await stopChild(child, [
      { signal: 'SIGTERM', waitMs: 3000 },
      { signal: 'SIGKILL', waitMs: 2000 },
    ]);
    await watchdog.release();
    rmSync(folder, { recursive: true, force: true });
  };
  const url = `redis://127.0.0.1:${port}`;
  for (const limit = Date.now() + 10_000; !(await answers(url)); await delay(30)) {
    if (!child.hasEnded() && Date.now() < limit) continue;
    const cause = lastWords(log);
    await stop();
    throw new Error(`Redis does not start: ${cause}`);
  }
  return { url, pid: child.pid, stop };
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
