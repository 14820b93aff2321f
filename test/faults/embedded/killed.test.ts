// The embedded stack, and what becomes of it when something is killed.
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, Connection } from '@temporalio/client';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createDataDirs, type DataDirs } from '../../support/data-dirs.ts';
import { groupOf, isAlive } from '../../support/processes.ts';
import { runScript } from '../../support/script-process.ts';
import {
  describeStack,
  stackEnvironment,
  startStack,
  whatIsLeft,
  type StackProcess,
} from '../../support/stack-process.ts';

let dataDirs: DataDirs;
let started: StackProcess[];
beforeEach(() => {
  dataDirs = createDataDirs();
  started = [];
});
afterEach(async () => {
  for (const { pid } of started) if (isAlive(pid)) process.kill(pid, 'SIGTERM');
  for (const stack of started) await expect.poll(() => whatIsLeft(stack), { timeout: 15_000 }).toEqual([]);
  dataDirs.remove();
});

async function start(...args: Parameters<typeof startStack>): Promise<StackProcess> {
  const stack = await startStack(...args);
  started.push(stack);
  return stack;
}

/** Resolves to the milliseconds until nothing is left; fails after the 10 s that are promised. */
async function untilNothingIsLeft(stack: StackProcess): Promise<number> {
  const begin = performance.now();
  await expect.poll(() => whatIsLeft(stack), { timeout: 10_000, interval: 50 }).toEqual([]);
  return performance.now() - begin;
}

async function query(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

async function withTemporal<T>(stack: StackProcess, use: (client: Client) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address: stack.settings.temporalAddress });
  try {
    return await use(new Client({ connection }));
  } finally {
    await connection.close();
  }
}

/** Nothing of the test listens on the API's port, so that another test may have taken it meanwhile. */
const withoutApiPort = ({ settings }: StackProcess) => ({ ...settings, port: undefined });

const beginRun = (stack: StackProcess, workflowId: string) =>
  withTemporal(stack, async (client) => {
    await client.workflow.start('nobodyRunsIt', { workflowId, taskQueue: 'none' });
  });
const runStatus = (stack: StackProcess, workflowId: string) =>
  withTemporal(stack, async (client) => (await client.workflow.getHandle(workflowId).describe()).status.name);

test('a kill -9 of the main process leaves no process and no port behind, and the next start has all data', async () => {
  const folder = dataDirs.create('data');
  const first = await start(folder);
  expect(first.children).toHaveLength(3);
  await query(first.settings.databaseUrl, 'CREATE TABLE kept AS SELECT 42 AS answer');
  await beginRun(first, 'kept');
  process.kill(first.pid, 'SIGKILL');
  console.info(`all gone after ${Math.round(await untilNothingIsLeft(first))} ms`);

  const second = await start(folder);
  expect(withoutApiPort(second)).toEqual(withoutApiPort(first));
  expect(await query(second.settings.databaseUrl, 'SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
  expect(await runStatus(second, 'kept')).toBe('RUNNING');
});

test('a start right after a kill -9 waits for the watchdog and gets the same ports', async () => {
  const folder = dataDirs.create('data');
  const first = await start(folder);
  process.kill(first.pid, 'SIGKILL');
  const second = await start(folder);
  expect(withoutApiPort(second)).toEqual(withoutApiPort(first));
  expect(first.children.filter(isAlive)).toEqual([]);
});

test('a kill -9 with open connections to PostgreSQL and to Temporal is no different', async () => {
  const stack = await start(dataDirs.create('data'));
  const client = new pg.Client({ connectionString: stack.settings.databaseUrl });
  client.on('error', () => undefined);
  await client.connect();
  const busy = client.query('SELECT pg_sleep(600)').catch(() => 'ended');
  await withTemporal(stack, async () => {
    process.kill(stack.pid, 'SIGKILL');
    await untilNothingIsLeft(stack);
  });
  expect(await busy).toBe('ended');
});

test('a kill -9 while the database is being made does not spoil the folder', async () => {
  const folder = dataDirs.create('data');
  const script = spawn(process.execPath, [fileURLToPath(new URL('../../support/run-stack.ts', import.meta.url))], {
    env: stackEnvironment(folder),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const gone = new Promise((resolve) => script.once('exit', resolve));
  await new Promise<void>((resolve) => {
    script.stderr.on('data', (chunk: Buffer) => (chunk.includes('making the database') ? resolve() : undefined));
  });
  script.kill('SIGKILL');
  await gone;
  const second = await start(folder);
  expect(await query(second.settings.databaseUrl, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});

test('Ctrl-C in the terminal reaches the main process only, which stops the others in order', async () => {
  const stack = await start(dataDirs.create('data'), { detached: true });
  for (const child of stack.children) expect(groupOf(child)).not.toBe(groupOf(stack.pid));
  // What a terminal does: it signals the whole group in the foreground.
  process.kill(-stack.pid, 'SIGINT');
  expect(await stack.process.ended).toMatchObject({ code: 0, signal: null });
  expect(await whatIsLeft(stack)).toEqual([]);
});

test('after a kill -9 of npm everything ends', async () => {
  const folder = dataDirs.create('data');
  const program = fileURLToPath(new URL('../../support/run-stack.ts', import.meta.url));
  const scripts = { start: `exec ${JSON.stringify(process.execPath)} ${JSON.stringify(program)}` };
  writeFileSync(join(dataDirs.parent, 'package.json'), JSON.stringify({ name: 'killed', private: true, scripts }));
  const npm = runScript('start', {
    command: ['npm', '--silent'],
    folder: dataDirs.parent,
    environment: stackEnvironment(folder),
  });
  const stack = await describeStack(npm);
  started.push(stack);
  expect(stack.pid).not.toBe(npm.pid);
  npm.kill('SIGKILL');
  await npm.ended;
  console.info(`all gone after ${Math.round(await untilNothingIsLeft(stack))} ms`);
});

test('two folders side by side do not disturb each other, and the same folder twice is an error', async () => {
  const [one, two] = [dataDirs.create('one'), dataDirs.create('two')];
  const [first, second] = await Promise.all([start(one), start(two)]);
  expect(new Set([...first.ports, ...second.ports, first.settings.port, second.settings.port]).size).toBe(8);
  await query(first.settings.databaseUrl, 'CREATE TABLE only_here (id int)');
  expect(await query(second.settings.databaseUrl, "SELECT to_regclass('only_here') AS found")).toEqual([
    { found: null },
  ]);

  const again = runScript('run-stack.ts', { environment: stackEnvironment(one) });
  const end = await again.ended;
  expect(end.code).toBe(1);
  expect(end.stderr.trim()).toBe(
    `Another start has the folder ${one}: process ${first.pid}. Stop that one, or set DATA_DIR to another folder.`,
  );
  expect(await query(first.settings.databaseUrl, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);

  process.kill(first.pid, 'SIGTERM');
  expect(await first.process.ended).toMatchObject({ code: 0 });
  expect(await query(second.settings.databaseUrl, 'SELECT 1 AS one')).toEqual([{ one: 1 }]);
});
