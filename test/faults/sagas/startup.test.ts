// What a person who starts a role wrongly gets to read: one line that says what to mend, and exit code 1.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, it } from 'vitest';
import { findFreePort } from '../../../src/embedded/children/free-port.ts';
import { runMain, runToEnd, type CommandEnd } from '../../support/role-process.ts';

const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url));
const cleanUps: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp();
});

const complete = {
  DATABASE_URL: 'postgres://nobody:nothing@127.0.0.1:1/none',
  TEMPORAL_ADDRESS: '127.0.0.1:1',
  PAYMENTS_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
  LOG_LEVEL: 'silent',
};

function expectOneLine({ code, stdout, stderr }: CommandEnd): string {
  expect(stdout).toBe('');
  expect(stderr).toMatch(/^[^\n]+\n$/);
  expect(code).toBe(1);
  return stderr;
}

it.each([
  ['api', ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'PAYMENTS_WEBHOOK_SECRET']],
  ['worker', ['DATABASE_URL', 'TEMPORAL_ADDRESS']],
  ['relay', ['DATABASE_URL', 'TEMPORAL_ADDRESS']],
  ['consumer', ['DATABASE_URL', 'REDIS_URL']],
  ['all', ['DATABASE_URL', 'TEMPORAL_ADDRESS', 'PAYMENTS_WEBHOOK_SECRET']],
  ['migrate', ['DATABASE_URL']],
])('%s without its variables names all of them: %j', async (role, names) => {
  const line = expectOneLine(await runMain([role]));
  expect(line.match(/[A-Z]+_[A-Z_]+(?= is missing)/g)).toEqual(names);
});

it('a variable that is wrong is named, with what would be right, and its value is not repeated', async () => {
  const environment = { ...complete, DATABASE_URL: 'mysql://me:secret@host/db', PORT: 'eighty' };
  const line = expectOneLine(await runMain(['api'], environment));
  expect(line).toMatch(/DATABASE_URL: must be a URL that starts with postgres:/);
  expect(line).toMatch(/PORT: /);
  expect(line).not.toContain('secret');
});

it.each([[[]], [['nonsense']], [['api', 'worker']]])('a command line of %j names the roles', async (args) => {
  expect(expectOneLine(await runMain(args))).toMatch(/api, worker, relay, consumer, all, dev, migrate/);
});

it.each([
  ['api', 'PORT'],
  ['all', 'PORT'],
  ['worker', 'HEALTH_PORT'],
  ['relay', 'HEALTH_PORT'],
])('%s on a port that is taken says which, and what to set', async (role, variable) => {
  const server = createServer();
  server.listen(await findFreePort());
  await once(server, 'listening');
  cleanUps.push(() => server.close());
  const address = server.address();
  const port = String(typeof address === 'object' ? address?.port : '');
  const line = expectOneLine(await runMain([role], { ...complete, [variable]: port }));
  expect(line).toContain(`Port ${port} is taken`);
  expect(line).toContain(`set ${variable} `);
});

/** Nodes of the machine, outside the project: of another line than the one that runs this. */
function olderNodes(): readonly string[] {
  const folders = (process.env['PATH'] ?? '').split(delimiter).filter((folder) => !folder.includes('node_modules'));
  return folders
    .map((folder) => join(folder, 'node'))
    .filter((program) => Number(majorOf(program)) < 24)
    .slice(0, 1);
}

function majorOf(program: string): string {
  try {
    return execFileSync(program, ['-p', 'process.versions.node.split(".")[0]'], { encoding: 'utf8' }).trim();
  } catch {
    return 'none';
  }
}

/** Where the machine has no older Node, this one says that it is. */
function pretendedNode(): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-node-'));
  cleanUps.push(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'pretend.cjs');
  writeFileSync(
    file,
    `const versions = { ...process.versions, node: '20.0.0' };
     Object.defineProperty(process, 'versions', { value: versions });
     Object.defineProperty(process, 'version', { value: 'v20.0.0' });`,
  );
  return [process.execPath, '--require', file];
}

it('an older Node says in one line that it is too old', async () => {
  const [found] = olderNodes();
  const commands = [pretendedNode(), ...(found === undefined ? [] : [[found]])];
  for (const [program = '', ...args] of commands) {
    const line = expectOneLine(await runToEnd(program, [...args, main, 'api'], complete));
    expect(line).toMatch(/needs Node 24 or newer, this is v\d+\.\d+\.\d+/);
  }
});
