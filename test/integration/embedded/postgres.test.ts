import { lstatSync, readFileSync, realpathSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findFreePort } from '../../../src/embedded/children/free-port.ts';
import { startPostgres, type RunningPostgres } from '../../../src/embedded/postgres.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { createDataDirs, type DataDirs } from '../../support/data-dirs.ts';
import { isAlive } from '../../support/processes.ts';

let dataDirs: DataDirs;
let running: RunningPostgres[];
let adopted: number[];
beforeEach(() => {
  dataDirs = createDataDirs();
  running = [];
  adopted = [];
});
afterEach(async () => {
  await Promise.all(running.map((postgres) => postgres.stop()));
  dataDirs.remove();
});

const isRoot = process.getuid?.() === 0;

async function start(
  folder: string,
  port?: number,
  report: (line: string) => void = () => undefined,
): Promise<RunningPostgres> {
  const postgres = await startPostgres({
    folder,
    port: port ?? (await findFreePort()),
    durable: true,
    environment: process.env,
    report,
    adopt: (pid) => adopted.push(pid),
  });
  running.push(postgres);
  return postgres;
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

async function failure(start: Promise<unknown>): Promise<string> {
  const error = await start.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(StartupError);
  expect((error as StartupError).message).not.toContain('\n');
  return (error as StartupError).message;
}

test('it serves from a closed folder under a closed folder, as root too', async () => {
  const folder = dataDirs.create('data');
  const postgres = await start(folder);
  const rows = await query(
    postgres.url,
    "SELECT current_setting('server_encoding') AS encoding, current_setting('listen_addresses') AS listens, upper('ä') AS upper",
  );
  expect(rows).toEqual([{ encoding: 'UTF8', listens: '127.0.0.1', upper: 'Ä' }]);
  expect(statSync(`/proc/${postgres.pid}`).uid === 0).toBe(false);
  expect(lstatSync(join(folder, 'postgres')).isSymbolicLink()).toBe(isRoot);
  expect(statSync(join(folder, 'postgres')).mode & 0o777).toBe(0o700);
});

test('it wants a password, which only the folder’s owner can read', async () => {
  const folder = dataDirs.create('data');
  const postgres = await start(folder);
  const wrong = new URL(postgres.url);
  wrong.password = 'guessed';
  await expect(query(wrong.href, 'SELECT 1')).rejects.toThrow('password authentication failed');
  expect(statSync(join(folder, 'postgres-password')).mode & 0o777).toBe(0o600);
  const { password } = new URL(postgres.url);
  const commandLine =
    readFileSync(`/proc/${postgres.pid}/cmdline`, 'utf8') + readFileSync(`/proc/${postgres.pid}/environ`, 'utf8');
  expect(commandLine).not.toContain(password);
});

test('its data survives a restart, on another port too', async () => {
  const folder = dataDirs.create('data');
  const first = await start(folder);
  await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
  await first.stop();
  expect(isAlive(first.pid)).toBe(false);
  const second = await start(folder);
  expect(await query(second.url, 'SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
});

test('its data survives when the server is killed at once, and open connections do not delay an orderly stop', async () => {
  const folder = dataDirs.create('data');
  const first = await start(folder);
  await query(first.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
  process.kill(first.pid, 'SIGKILL');
  await first.ended;
  const second = await start(folder);
  const client = new pg.Client({ connectionString: second.url });
  client.on('error', () => undefined);
  await client.connect();
  expect((await client.query('SELECT answer FROM kept')).rows).toEqual([{ answer: 42 }]);
  const begin = performance.now();
  await second.stop();
  expect(performance.now() - begin).toBeLessThan(5000);
});

test('every process that it starts is handed to the watchdog', async () => {
  const postgres = await start(dataDirs.create('data'));
  expect(adopted).toHaveLength(2);
  expect(adopted).toContain(postgres.pid);
});

test.each([
  [
    'of another version',
    (data: string) => writeFileSync(join(data, 'PG_VERSION'), '9\n'),
    /is of PostgreSQL 9, these programs are 18/,
  ],
  ['without a version', (data: string) => rmSync(join(data, 'PG_VERSION')), /it has no PG_VERSION/],
  ['with a broken control file', (data: string) => truncateSync(join(data, 'global', 'pg_control'), 0), /pg_control/],
  ['with a missing part', (data: string) => rmSync(join(data, 'pg_wal'), { recursive: true }), /pg_wal/],
])('a data folder %s is an error that names it and says what to do', async (_name, damage, words) => {
  const folder = dataDirs.create('data');
  await (await start(folder)).stop();
  const data = realpathSync(join(folder, 'postgres'));
  damage(data);
  const message = await failure(start(folder));
  expect(message).toMatch(words);
  expect(message).toContain(data);
  expect(message).toContain(`remove ${folder} to begin anew`);
  expect(adopted.filter(isAlive)).toEqual([]);
});

test('a port that is taken meanwhile is an error that names it, and nothing is left running', async () => {
  const first = await start(dataDirs.create('one'));
  const port = Number(new URL(first.url).port);
  const message = await failure(start(dataDirs.create('two'), port));
  expect(message).toContain(String(port));
  expect(adopted.filter(isAlive)).toEqual([first.pid]);
});

test('a start that died while it made the database is no broken folder: the next one begins anew', async () => {
  const folder = dataDirs.create('data');
  await (await start(folder)).stop();
  writeFileSync(join(folder, 'postgres-unfinished'), '');
  rmSync(join(realpathSync(join(folder, 'postgres')), 'PG_VERSION'));
  const lines: string[] = [];
  await start(folder, undefined, (line) => lines.push(line));
  expect(lines).toEqual(['making the database']);
});

test('a removed folder begins anew; what lay outside of it, as root, is kept and named', async () => {
  const folder = dataDirs.create('data');
  await (await start(folder)).stop();
  const earlier = realpathSync(join(folder, 'postgres'));
  rmSync(folder, { recursive: true });
  const lines: string[] = [];
  try {
    await start(folder, undefined, (line) => lines.push(line));
    const kept = isRoot
      ? [expect.stringContaining(`an earlier database of ${folder} is kept in ${earlier}`) as string]
      : [];
    expect(lines).toEqual([...kept, 'making the database']);
    expect(realpathSync(join(folder, 'postgres'))).toBe(isRoot ? `${earlier}-2` : earlier);
  } finally {
    rmSync(earlier, { recursive: true });
  }
});
