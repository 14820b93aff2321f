// The embedded Temporal: the CLI's dev server with its Web UI, on the loopback interface.
import { closeSync, mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { ensureSearchAttributes } from '../platform/search-attributes.ts';
import { StartupError } from '../platform/startup-error.ts';
import { startChild, stopChild, type Adopt, type Child } from './children/child.ts';
import { lastWords, logPath, logSize, openLog } from './children/log-file.ts';

export type SearchAttributes = Readonly<Record<string, 'Keyword'>>;

export type TemporalOptions = Readonly<{
  /** Path of the Temporal CLI. */
  cli: string;
  /** DATA_DIR: history in `temporal.db`, log in `logs/temporal.log`. */
  folder: string;
  /** false keeps the histories in memory only: for tests. */
  durable: boolean;
  port: number;
  uiPort: number;
  namespace: string;
  searchAttributes: SearchAttributes;
  environment: NodeJS.ProcessEnv;
  adopt: Adopt;
}>;

export type RunningTemporal = Readonly<{
  /** host:port of the frontend. */
  address: string;
  uiUrl: string;
  pid: number;
  /** Resolves when it has ended, wanted or not. */
  ended: Promise<string>;
  /** Ends it at the latest after 8 s. Safe to call twice. */
  stop(): Promise<void>;
}>;

const startLimitMs = 60_000;

/**
 * Starts the server and returns when the frontend serves the namespace and the Web UI answers. The ports must be free.
 * @throws StartupError with the server's last words; then nothing is left running.
 */
export async function startTemporal(options: TemporalOptions): Promise<RunningTemporal> {
  const folder = resolve(options.folder);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const log = logPath(folder, 'temporal');
  const since = logSize(log);
  const child = await launch(options, folder, log);
  const stop = () =>
    stopChild(child, [
      { signal: 'SIGTERM', waitMs: 6000 },
      { signal: 'SIGKILL', waitMs: 2000 },
    ]);
  const address = `127.0.0.1:${options.port}`;
  const uiUrl = `http://127.0.0.1:${options.uiPort}`;
  try {
    await untilItServes(address, options.namespace, uiUrl, child);
    if (options.durable) await registerNewSearchAttributes(address, options);
  } catch (error) {
    await stop();
    const cause = lastWords(log, since) || (error instanceof Error ? error.message : String(error));
    const remedy = options.durable
      ? ` If its history is broken, restore ${databasePath(folder)} from a copy, or remove ${folder} to begin anew.`
      : '';
    throw new StartupError(`The Temporal dev server (${options.cli}) cannot start: ${cause} (log: ${log}).${remedy}`);
  }
  return { address, uiUrl, pid: child.pid, ended: child.ended, stop };
}

function databasePath(folder: string): string {
  return join(folder, 'temporal.db');
}

async function launch(options: TemporalOptions, folder: string, log: string): Promise<Child> {
  const args = [
    'server',
    'start-dev',
    '--ip',
    '127.0.0.1',
    '--port',
    String(options.port),
    '--ui-port',
    String(options.uiPort),
    '--namespace',
    options.namespace,
    '--log-level',
    'warn',
    ...(options.durable ? ['--db-filename', databasePath(folder)] : []),
    ...Object.entries(options.searchAttributes).flatMap(([name, type]) => ['--search-attribute', `${name}=${type}`]),
  ];
  // TEMPORAL_* of ours (an address, a namespace) would be taken for the CLI's own settings.
  const environment = Object.fromEntries(
    Object.entries(options.environment).filter(([name]) => !name.startsWith('TEMPORAL_')),
  );
  const output = openLog(log);
  try {
    return await startChild({ program: options.cli, args, environment, output, folder, adopt: options.adopt });
  } catch (error) {
    throw new StartupError(
      `The Temporal CLI ${options.cli} does not run: ${error instanceof Error ? error.message : String(error)}. Set TEMPORAL_CLI to one that does, or TEMPORAL_ADDRESS to a server.`,
    );
  } finally {
    closeSync(output);
  }
}

async function untilItServes(address: string, namespace: string, uiUrl: string, child: Child): Promise<void> {
  const limit = Date.now() + startLimitMs;
  for (;;) {
    if (child.hasEnded()) throw new Error(`it ended with ${await child.ended}`);
    try {
      await serves(address, namespace);
      await fetch(uiUrl, { signal: AbortSignal.timeout(2000) });
      return;
    } catch (error) {
      if (Date.now() > limit) throw error;
    }
    await Promise.race([delay(50), child.ended]);
  }
}

/** The CLI registers its search attributes in a new database only, and a later version of ours may have more. */
async function registerNewSearchAttributes(address: string, options: TemporalOptions): Promise<void> {
  const connection = await Connection.connect({ address });
  try {
    const client = new Client({ connection, namespace: options.namespace });
    await ensureSearchAttributes(client, options.namespace, Object.keys(options.searchAttributes));
  } finally {
    await connection.close();
  }
}

async function serves(address: string, namespace: string): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: 1000 });
  try {
    await connection.withDeadline(Date.now() + 2000, () => connection.workflowService.describeNamespace({ namespace }));
  } finally {
    await connection.close();
  }
}
