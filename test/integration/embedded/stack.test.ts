import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Connection } from '@temporalio/client';
import pg from 'pg';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isFree } from '../../../src/embedded/children/free-port.ts';
import { keptPorts } from '../../../src/embedded/ports.ts';
import { startEmbeddedStack, type EmbeddedStack, type StackOptions } from '../../../src/embedded/stack.ts';
import { readSettings } from '../../../src/platform/config.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { createDataDirs, type DataDirs } from '../../support/data-dirs.ts';
import { createFakeMachine } from '../../support/fake-programs.ts';
import { stackEnvironment } from '../../support/stack-process.ts';

let dataDirs: DataDirs;
let folder: string;
let stacks: EmbeddedStack[];
beforeEach(() => {
  dataDirs = createDataDirs();
  folder = dataDirs.create('data');
  stacks = [];
});
afterEach(async () => {
  await Promise.all(stacks.map((stack) => stack.stop()));
  dataDirs.remove();
});

async function start(more: NodeJS.ProcessEnv = {}, options: Partial<StackOptions> = {}): Promise<EmbeddedStack> {
  const environment = stackEnvironment(folder, more);
  const stack = await startEmbeddedStack({
    settings: readSettings('dev', environment),
    environment,
    searchAttributes: { OrderId: 'Keyword' },
    report: () => undefined,
    ...options,
  });
  stacks.push(stack);
  return stack;
}

/** The ports that this start has chosen are free again, and so is the folder. */
async function expectNothingLeft(): Promise<void> {
  const { postgres, temporal, temporalUi } = keptPorts(folder);
  for (const port of [postgres, temporal, temporalUi]) if (port !== undefined) expect(await isFree(port)).toBe(true);
  expect(existsSync(join(folder, 'lock'))).toBe(false);
}

test('it fills in what is unset, says where the time went, and leaves nothing running when it is stopped', async () => {
  const stack = await start();
  const { databaseUrl, temporalAddress, temporalUiUrl, paymentsWebhookSecret, port } = stack.settings;
  const ports = keptPorts(folder);
  expect([new URL(databaseUrl).pathname, Number(new URL(databaseUrl).port)]).toEqual(['/athyper', ports.postgres]);
  expect([temporalAddress, temporalUiUrl, port]).toEqual([
    `127.0.0.1:${ports.temporal}`,
    `http://127.0.0.1:${ports.temporalUi}`,
    ports.api,
  ]);
  expect(paymentsWebhookSecret).toMatch(/^whsec_/);
  expect((await fetch(temporalUiUrl)).status).toBe(200);
  expect(stack.timings.map(({ name }) => name).toSorted()).toEqual(['PostgreSQL', 'Temporal', 'Temporal CLI']);
  await Promise.all([stack.stop(), stack.stop()]);
  await expectNothingLeft();
});

test('it embeds nothing that the settings name, and then needs no program', async () => {
  const given = {
    PATH: '/nowhere',
    DATABASE_URL: 'postgres://somebody@database.example:5432/orders',
    TEMPORAL_ADDRESS: 'temporal.example:7233',
    PAYMENTS_WEBHOOK_SECRET: `whsec_${'a'.repeat(43)}=`,
  };
  const { settings, timings } = await start(given);
  expect(settings).toMatchObject({
    databaseUrl: given.DATABASE_URL,
    temporalAddress: given.TEMPORAL_ADDRESS,
    temporalUiUrl: 'http://temporal.example:8233',
    paymentsWebhookSecret: given.PAYMENTS_WEBHOOK_SECRET,
  });
  expect(timings).toEqual([]);
  expect(existsSync(join(folder, 'postgres'))).toBe(false);
});

test('where one part cannot start, the others are stopped, its own error is told, and the folder is free', async () => {
  const machine = createFakeMachine();
  try {
    const broken = machine.program(
      join(machine.folder, 'temporal'),
      'echo "Error: no space left on device" >&2; exit 1',
    );
    const failing = start({ TEMPORAL_CLI: broken });
    await expect(failing).rejects.toThrow(StartupError);
    await expect(failing).rejects.toThrow(
      `The Temporal dev server (${broken}) cannot start: Error: no space left on device`,
    );
    await expectNothingLeft();
    await expect(start({ TEMPORAL_CLI: join(machine.folder, 'absent') })).rejects.toThrow('TEMPORAL_CLI is');
    await expectNothingLeft();
  } finally {
    machine.remove();
  }
  await start();
});

test('a broken history of Temporal is an error that names the file and says what to do', async () => {
  const history = join(folder, 'temporal.db');
  writeFileSync(history, 'no database '.repeat(100));
  const failing = start();
  await expect(failing).rejects.toThrow(StartupError);
  await expect(failing).rejects.toThrow(`restore ${history} from a copy, or remove ${folder} to begin anew`);
  await expectNothingLeft();
});

test('a start that is given up leaves nothing running', async () => {
  const controller = new AbortController();
  const starting = start(
    {},
    { signal: controller.signal, report: () => controller.abort(new StartupError('given up')) },
  );
  await expect(starting).rejects.toThrow('given up');
  await expectNothingLeft();
});

test('a server that ends by itself is noticed', async () => {
  const stack = await start();
  const client = new pg.Client({ connectionString: stack.settings.databaseUrl });
  client.on('error', () => undefined);
  await client.connect();
  const { rows } = await client.query<{ pid: number }>(
    "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int AS pid",
  );
  process.kill(rows[0]?.pid ?? 0, 'SIGKILL');
  expect(await stack.broken).toContain('PostgreSQL has ended by itself (signal SIGKILL)');
});

test('a start with more search attributes than the last one registers the new ones', async () => {
  await (await start()).stop();
  const { settings } = await start({}, { searchAttributes: { OrderId: 'Keyword', SagaStep: 'Keyword' } });
  const connection = await Connection.connect({ address: settings.temporalAddress });
  const names = async () =>
    Object.keys(
      (await connection.operatorService.listSearchAttributes({ namespace: 'default' })).customAttributes ?? {},
    );
  try {
    await expect.poll(names, { timeout: 10_000 }).toEqual(expect.arrayContaining(['OrderId', 'SagaStep']));
  } finally {
    await connection.close();
  }
});

test.each([
  ['that is a file', (): string => '/etc/hostname'],
  ['below a file', (): string => '/etc/hostname/data'],
])('a DATA_DIR %s is an error that names it', async (_name, path) => {
  await expect(start({ DATA_DIR: path() })).rejects.toThrow(
    /\/etc\/hostname.*cannot be used.*set DATA_DIR to another one/,
  );
});
