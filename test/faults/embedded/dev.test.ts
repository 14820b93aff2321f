// `npm start` and `npm run demo` as a newcomer runs them, and what they leave behind, however they end: nothing.
import { once } from 'node:events';
import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findFreePort, isFree } from '../../../src/embedded/children/free-port.ts';
import { markDemoPlayed } from '../../../src/embedded/demo-marker.ts';
import { readSettings } from '../../../src/platform/config.ts';
import { createLogger } from '../../../src/platform/logger.ts';
import { startService } from '../../../src/processes/dev-service.ts';
import { createTestDatabase } from '../../support/database.ts';
import { createDataDirs, type DataDirs } from '../../support/data-dirs.ts';
import {
  createDevProcesses,
  mainPidIn,
  pathOutsideTheProject,
  portsOf,
  processesIn,
  whatIsLeftIn,
  type DevEnd,
  type DevProcess,
  type DevProcesses,
} from '../../support/dev-process.ts';
import { createHttpClient } from '../../support/http-client.ts';
import { groupOf } from '../../support/processes.ts';
import { testWebhookSecret } from '../../support/saga-service.ts';

let dataDirs: DataDirs;
let processes: DevProcesses;
let cleanUps: (() => unknown)[];
beforeEach(() => {
  dataDirs = createDataDirs();
  processes = createDevProcesses();
  cleanUps = [];
});
afterEach(async () => {
  await processes.stop();
  for (const cleanUp of cleanUps) await cleanUp();
  dataDirs.remove();
});

type Start = Readonly<{ dev: DevProcess; folder: string; port: number }>;
const throughNpm = ['npm', 'start'] as const;
const directly = ['node', 'dev'] as const;

/** A folder where the demo was played, unless it matters. */
function folderWithoutDemo(name = 'data'): string {
  const folder = dataDirs.create(name);
  markDemoPlayed(folder);
  return folder;
}

async function begin(command: typeof throughNpm | typeof directly, folder = folderWithoutDemo()): Promise<Start> {
  const port = await findFreePort();
  return { dev: processes.start(command, folder, { PORT: String(port) }), folder, port };
}

/** Resolves when its API serves. */
async function start(...args: Parameters<typeof begin>): Promise<Start> {
  const begun = await begin(...args);
  await begun.dev.prints('Ctrl-C stops everything.');
  return begun;
}

/** Logs the milliseconds until nothing is left; fails after the 10 s that are promised. */
async function expectNothingLeft({ folder, port }: Omit<Start, 'dev'>): Promise<void> {
  const began = performance.now();
  const ports = portsOf(folder, port);
  expect(ports).toHaveLength(4);
  await expect.poll(() => whatIsLeftIn(folder, ports), { timeout: 10_000, interval: 50 }).toEqual([]);
  console.info(`all gone after ${Math.round(performance.now() - began)} ms`);
}

async function interruptInOrder(started: Start): Promise<void> {
  const began = performance.now();
  started.dev.interrupt();
  const end = await started.dev.ended;
  console.info(`stopped after ${Math.round(performance.now() - began)} ms`);
  expect(end.code, end.stdout + end.stderr).toBe(0);
  expect(end.stdout.trimEnd().split('\n').at(-1)).toBe('Stopped.');
  // At once: npm does not end before what it has started.
  expect(await whatIsLeftIn(started.folder, portsOf(started.folder, started.port))).toEqual([]);
}

type Order = Readonly<{ orderId: string; customerId: string; status: string; failureReason?: string }>;

async function ordersAt(apiUrl: string): Promise<readonly Order[]> {
  const answer = await createHttpClient(apiUrl).get('/orders');
  expect(answer.status).toBe(200);
  // In the order of their making.
  return (answer.body as { orders: readonly Order[] }).orders.toReversed();
}

const fourEndings = [
  { status: 'confirmed' },
  { status: 'failed', failureReason: expect.stringMatching(/^payment-declined/) },
  { status: 'failed', failureReason: expect.stringMatching(/^out-of-stock/) },
  { status: 'cancelled' },
];

/** What became of each order, as told, with the address of its run. */
function storiesIn(stdout: string): readonly Readonly<{ ending: string; webUrl: string }>[] {
  const stories = stdout.matchAll(/^Order \d of 4: .+\n(?: {4}.+\n)+ {2}(?<ending>\S.+)\n {2}(?<webUrl>http\S+)$/gm);
  return [...stories].map(({ groups }) => ({ ending: groups?.['ending'] ?? '', webUrl: groups?.['webUrl'] ?? '' }));
}

const fourStories = [
  { ending: 'confirmed' },
  { ending: expect.stringMatching(/^failed: payment-declined/) },
  { ending: expect.stringMatching(/^failed: out-of-stock/) },
  { ending: 'cancelled' },
];

test('npm start on a bare folder tells four stories and stays up until Ctrl-C, which leaves nothing running', async () => {
  const started = await start(throughNpm, dataDirs.create('data'));
  const { dev, folder, port } = started;
  const stdout = dev.stdout();
  const [ready] = /^Ready after .+$/m.exec(stdout) ?? [];
  expect(ready).toMatch(/^Ready after \d+\.\d s: (.+ \d+\.\d s, ){5,}until \/readyz answers 200 \d+\.\d s\.$/);
  // Told, and not judged: beside other tests it is the machine that takes its time.
  console.info(ready);

  const apiUrl = await dev.apiUrl();
  expect(apiUrl).toBe(`http://localhost:${port}`);
  expect(stdout).toMatch(/^ {2}PostgreSQL +postgres:\/\/postgres:\w+@127\.0\.0\.1:\d+\/athyper$/m);
  expect(stdout).toMatch(/^ {2}PAYMENTS_WEBHOOK_SECRET +whsec_\S+$/m);
  const [, webUi] = /^ {2}Temporal Web UI +(http:\S+)$/m.exec(stdout) ?? [];
  const stories = storiesIn(stdout);
  expect(stories).toMatchObject(fourStories);

  for (const path of ['/healthz', '/readyz'])
    expect(await createHttpClient(apiUrl).get(path)).toMatchObject({ status: 200 });
  const orders = await ordersAt(apiUrl);
  expect(orders).toMatchObject(fourEndings);
  for (const [index, { webUrl }] of stories.entries()) {
    expect(webUrl).toMatch(new RegExp(`^${webUi}/order-saga-${orders[index]?.orderId}/[0-9a-f-]+/history$`));
    expect((await fetch(webUrl)).status).toBe(200);
  }
  // The run of that address, in the words of what its page asks.
  const { origin, pathname } = new URL(stories[0]?.webUrl ?? '');
  const [, , , , workflowId, runId] = pathname.split('/');
  const page = await fetch(`${origin}/api/v1/namespaces/default/workflows/${workflowId}?execution.runId=${runId}`);
  expect(await page.json()).toMatchObject({ workflowExecutionInfo: { status: 'WORKFLOW_EXECUTION_STATUS_COMPLETED' } });

  const main = mainPidIn(folder);
  expect(main).not.toBe(dev.pid);
  expect(groupOf(main)).toBe(dev.pid);
  await interruptInOrder(started);
});

test('a second start finds the orders of the demo and does not repeat it, and npm run demo does', async () => {
  const folder = dataDirs.create('data');
  const first = await start(directly, folder);
  const orders = await ordersAt(await first.dev.apiUrl());
  expect(orders).toMatchObject(fourEndings);
  first.dev.kill('SIGTERM');
  expect(await first.dev.ended).toMatchObject({ code: 0, stderr: '' });

  const second = await start(throughNpm, folder);
  expect(second.dev.stdout()).toContain('The demo has been played in this folder before');
  expect(storiesIn(second.dev.stdout())).toEqual([]);
  expect(await ordersAt(await second.dev.apiUrl())).toEqual(orders);

  const demo = await processes.start(['npm', 'run', '--silent', 'demo'], folder).ended;
  expect(demo).toMatchObject({ code: 0, signal: null });
  expect(demo.stdout).not.toContain('Starting');
  expect(storiesIn(demo.stdout)).toMatchObject(fourStories);
  expect(await ordersAt(await second.dev.apiUrl())).toMatchObject([...orders, ...fourEndings]);
  await interruptInOrder(second);

  const port = await findFreePort();
  const alone = processes.start(['npm', 'run', '--silent', 'demo'], folder, { PORT: String(port) });
  await alone.prints('Ctrl-C stops everything.');
  expect(storiesIn(alone.stdout())).toMatchObject(fourStories);
  expect(await ordersAt(await alone.apiUrl())).toMatchObject([...orders, ...fourEndings, ...fourEndings]);
  await interruptInOrder({ dev: alone, folder, port });
});

test.each(['npm', 'the main process'])(
  'a kill -9 of %s leaves no process and no port behind within 10 s',
  async (who) => {
    const { dev, folder, port } = await start(throughNpm);
    process.kill(who === 'npm' ? dev.pid : mainPidIn(folder), 'SIGKILL');
    await expectNothingLeft({ folder, port });
  },
);

test.each(['npm', 'the main process'])('a kill -9 of %s while it starts leaves nothing behind either', async (who) => {
  const { dev, folder, port } = await begin(throughNpm);
  await dev.prints('making the database');
  process.kill(who === 'npm' ? dev.pid : mainPidIn(folder), 'SIGKILL');
  await expectNothingLeft({ folder, port });
  expect(dev.stdout()).not.toContain('Ready after');

  const again = await start(directly, folder);
  expect(await ordersAt(await again.dev.apiUrl())).toEqual([]);
});

test('a kill -9 of npm while the program is still being loaded ends it as well', async () => {
  const { dev, folder } = await begin(throughNpm);
  await expect.poll(() => processesIn(folder).some(isLoading), { timeout: 20_000, interval: 5 }).toBe(true);
  dev.kill('SIGKILL');
  await dev.ended;
  await expect.poll(() => processesIn(folder), { timeout: 10_000, interval: 50 }).toEqual([]);
  expect(dev.stdout()).not.toContain('Ready after');
});

/** The main process, at one of its larger modules. */
function isLoading({ pid, command }: Readonly<{ pid: number; command: string }>): boolean {
  return command === 'node src/main.ts dev' && readFileSync(`/proc/${pid}/maps`, 'utf8').includes('core-bridge');
}

test.each([
  ['it starts', 'making the database'],
  ['the demo is played', 'Order 2 of 4'],
])('Ctrl-C while %s stops what was started, and is no error', async (_when, line) => {
  const begun = await begin(throughNpm, dataDirs.create('data'));
  await begun.dev.prints(line);
  await interruptInOrder(begun);
});

test.each([
  ['PostgreSQL', /\/postgres -D /],
  ['The Temporal dev server', / server start-dev /],
])('%s, killed, is told, ends the rest, and is exit code 1', async (name, command) => {
  const { dev, folder, port } = await start(directly);
  const victims = processesIn(folder).filter((one) => command.test(one.command));
  expect(victims).toHaveLength(1);
  process.kill(victims[0]?.pid ?? 0, 'SIGKILL');
  const end = await dev.ended;
  expect(end).toMatchObject({ code: 1, signal: null, stderr: '' });
  expect(end.stdout).toContain(
    `\n${name} has ended by itself (signal SIGKILL); its log is in ${folder}/logs. Stopping.\nStopped.\n`,
  );
  await expectNothingLeft({ folder, port });
});

/** A start that gets no further than its services: they wait for a Temporal that does not answer. */
async function startThatWaits(command: typeof throughNpm | typeof directly): Promise<Start> {
  const folder = folderWithoutDemo();
  const port = await findFreePort();
  const address = `127.0.0.1:${await findFreePort()}`;
  const dev = processes.start(command, folder, { TEMPORAL_ADDRESS: address, PORT: String(port) });
  const readyz = async (): Promise<unknown> => (await fetch(`http://127.0.0.1:${port}/readyz`)).json().catch(() => '');
  await expect
    .poll(readyz, { timeout: 20_000 })
    .toMatchObject({ checks: { database: { ok: true }, temporal: { ok: false } } });
  return { dev, folder, port };
}

test('PostgreSQL, killed before the service is ready, is told, and is not waited for', async () => {
  const { dev, folder, port } = await startThatWaits(directly);
  const began = performance.now();
  for (const { pid, command } of processesIn(folder)) if (/\/postgres -D /.test(command)) process.kill(pid, 'SIGKILL');
  const end = await dev.ended;
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(end).toMatchObject({ code: 1, signal: null, stderr: '' });
  expect(end.stdout).toMatch(/\nPostgreSQL has ended by itself \(signal SIGKILL\); .+ Stopping\.\nStopped\.\n$/);
  await expectNothingLeft({ folder, port });
});

test('a second Ctrl-C does not wait for the order of the stop, and leaves nothing behind all the same', async () => {
  const { dev, folder, port } = await start(directly);
  // Half a request, which an orderly stop waits for.
  const slow = connect(port, '127.0.0.1', () => void slow.write('GET /orders HTTP/1.1\r\n'));
  slow.on('error', () => undefined);
  cleanUps.push(() => slow.destroy());
  await once(slow, 'connect');
  // An impatient one: again and again.
  const again = setInterval(() => dev.interrupt(), 300);
  const end = await dev.ended.finally(() => clearInterval(again));
  expect(end).toMatchObject({ code: 130, signal: null });
  await expectNothingLeft({ folder, port });
});

/** One line on standard error, and nothing but the beginning of a start on standard output. */
async function expectRefusal(dev: DevProcess): Promise<string> {
  const end: DevEnd = await dev.ended;
  expect(end.stderr).toMatch(/^[^\n]+\n$/);
  expect(end.stdout).toMatch(/^Starting Athyper Sagas in [^\n]+\n(making the database\n)?$/);
  expect(end).toMatchObject({ code: 1, signal: null });
  return end.stderr;
}

async function expectRefusalThatLeavesNothing(
  folder: string,
  environment: Readonly<Record<string, string>>,
): Promise<string> {
  const line = await expectRefusal(processes.start(directly, folder, environment));
  expect(await whatIsLeftIn(folder, portsOf(folder))).toEqual([]);
  return line;
}

test('the same folder twice is refused with the number of the process that has it, which goes on', async () => {
  const { dev, folder } = await start(directly);
  const line = await expectRefusal(processes.start(directly, folder));
  expect(line).toBe(
    `Another start has the folder ${folder}: process ${dev.pid}. Stop that one, or set DATA_DIR to another folder.\n`,
  );
  expect(await createHttpClient(await dev.apiUrl()).get('/readyz')).toMatchObject({ status: 200 });
});

test('a broken data folder is refused with its path and what to do', async () => {
  const { dev, folder } = await start(directly);
  dev.kill('SIGTERM');
  await dev.ended;
  const data = realpathSync(join(folder, 'postgres'));
  rmSync(join(data, 'global', 'pg_control'));
  const line = await expectRefusalThatLeavesNothing(folder, {});
  expect(line).toContain(`PostgreSQL cannot start with its data folder ${data}: `);
  expect(line).toContain('pg_control');
  expect(line).toContain(`restore it from a copy, or remove ${folder} to begin anew`);

  rmSync(join(data, 'PG_VERSION'));
  expect(await expectRefusalThatLeavesNothing(folder, {})).toContain('it has no PG_VERSION');
});

test('a DATA_DIR that is a file is refused', async () => {
  const folder = join(dataDirs.parent, 'file');
  writeFileSync(folder, '');
  expect(await expectRefusalThatLeavesNothing(folder, {})).toContain(`The folder ${folder} cannot be used`);
});

test('a PORT that is taken is refused with its number', async () => {
  const port = await occupy(await findFreePort());
  const line = await expectRefusalThatLeavesNothing(folderWithoutDemo(), { PORT: String(port) });
  expect(line).toContain(`PORT ${port} is taken by another program`);
});

test('a TEMPORAL_CLI that is no program is refused with its path', async () => {
  const folder = folderWithoutDemo();
  const missing = join(folder, 'temporal');
  const line = await expectRefusalThatLeavesNothing(folder, { TEMPORAL_CLI: missing });
  expect(line).toContain(`TEMPORAL_CLI is ${missing}, which is not a program that this user may run`);

  const broken = join(dataDirs.parent, 'broken-temporal');
  writeFileSync(broken, '#!/bin/sh\necho "Error: wrong machine" >&2\nexit 1\n', { mode: 0o755 });
  const second = await expectRefusalThatLeavesNothing(folder, { TEMPORAL_CLI: broken });
  expect(second).toContain(`The Temporal dev server (${broken}) cannot start: Error: wrong machine`);
});

test('a DATABASE_URL where nothing answers is refused with its host and without its password', async () => {
  const databaseUrl = `postgres://me:secret@127.0.0.1:${await findFreePort()}/none`;
  const line = await expectRefusalThatLeavesNothing(folderWithoutDemo(), { DATABASE_URL: databaseUrl });
  expect(line).toMatch(/PostgreSQL at 127\.0\.0\.1:\d+\/none does not serve us: .+ mend DATABASE_URL\./);
  expect(line).not.toContain('secret');
});

test('while a TEMPORAL_ADDRESS where nothing answers is waited for, Ctrl-C stops it in order within 10 s', async () => {
  const started = await startThatWaits(throughNpm);
  const began = performance.now();
  await interruptInOrder(started);
  expect(performance.now() - began).toBeLessThan(10_000);
  expect(started.dev.stdout()).not.toContain('Ready after');
});

test('a TEMPORAL_ADDRESS where nothing answers in time is an error that names it, and nothing goes on', async () => {
  const database = await createTestDatabase();
  cleanUps.push(database.drop);
  const port = await findFreePort();
  const temporalAddress = `127.0.0.1:${await findFreePort()}`;
  const settings = {
    ...readSettings('dev', { PORT: String(port), SHUTDOWN_GRACE_SECONDS: '7' }),
    databaseUrl: database.url,
    temporalAddress,
    temporalUiUrl: 'http://127.0.0.1:1',
    paymentsWebhookSecret: testWebhookSecret,
  };
  const service = startService({
    extensions: [],
    settings,
    timings: [],
    logger: createLogger({ level: 'silent', role: 'test' }),
    signal: new AbortController().signal,
    readyWithinMilliseconds: 1_000,
  });
  await expect(service).rejects.toThrow(/^The service is not ready after 1 s: temporal \(.+\), worker \(.+\)\.$/);
  expect(await isFree(port)).toBe(true);
});

/** @returns the port, on which another program listens until the test is over. */
async function occupy(port: number): Promise<number> {
  const server = createServer((socket) => socket.destroy());
  cleanUps.push(() => server.close());
  await new Promise<void>((resolve) => {
    // Taken by somebody else is as good.
    server.once('error', () => resolve());
    server.listen(port, resolve);
  });
  return port;
}

test('two folders side by side, where 3000 is taken, have ports of their own and print them', async () => {
  await occupy(3000);
  const folders = [folderWithoutDemo('one'), folderWithoutDemo('two')];
  const both = folders.map((folder) => processes.start(throughNpm, folder));
  for (const dev of both) await dev.prints('Ctrl-C stops everything.');
  const ports = folders.flatMap((folder) => portsOf(folder));
  expect(new Set([...ports, 3000]).size).toBe(9);
  for (const [index, dev] of both.entries()) {
    const apiUrl = await dev.apiUrl();
    expect(folders.findIndex((folder) => portsOf(folder).includes(Number(new URL(apiUrl).port)))).toBe(index);
    await createHttpClient(apiUrl).put(`/products/only-${index}`, { name: 'Lamp', onHand: 5 });
    const found = ['only-0', 'only-1'].map(
      async (id) => (await createHttpClient(apiUrl).get(`/products/${id}`)).status,
    );
    expect(await Promise.all(found)).toEqual(index === 0 ? [200, 404] : [404, 200]);
  }
  for (const dev of both) dev.interrupt();
  for (const dev of both) expect(await dev.ended).toMatchObject({ code: 0, signal: null });
  for (const folder of folders) expect(await whatIsLeftIn(folder, portsOf(folder))).toEqual([]);
});

test('npm runs the pinned Node, whatever older one is first on PATH', async () => {
  const bin = mkdtempSync(join(tmpdir(), 'athyper-sagas-node-'));
  cleanUps.push(() => rmSync(bin, { recursive: true, force: true }));
  // Runs npm itself, as an older Node does, and nothing of ours.
  writeFileSync(
    join(bin, 'node'),
    `#!/bin/sh\ncase "$1" in */npm*) exec '${process.execPath}' "$@" ;; esac\necho 'an older Node' >&2\nexit 9\n`,
    { mode: 0o755 },
  );
  const outside = pathOutsideTheProject();
  for (const path of [outside, [bin, outside].join(delimiter)]) {
    const end = await processes.start(['npm', 'run', '--silent', 'migrate'], dataDirs.parent, { PATH: path }).ended;
    expect(end.stderr).toContain('Configuration of "migrate": DATABASE_URL is missing');
    expect(end).toMatchObject({ code: 1, stdout: '' });
  }
});
