// The whole service on an embedded stack of its own, in this process, for as long as one piece of work takes.
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { inspect } from 'node:util';
import { sagaSearchAttributes } from '../domain/saga-contract.ts';
import { createApiClient, type ApiClient } from '../embedded/demo/api-client.ts';
import { findFreePort } from '../embedded/children/free-port.ts';
import { startEmbeddedStack, type EmbeddedStack } from '../embedded/stack.ts';
import { inheritedEnvironment, readSettings, type Settings } from '../platform/config.ts';
import { connectDatabase, type Db } from '../platform/database.ts';
import { listenForStop, stopAll, type Running } from '../platform/lifecycle.ts';
import { createLogger } from '../platform/logger.ts';
import { StartupError } from '../platform/startup-error.ts';
import { apiUrlOf, startService } from './dev-service.ts';
import type { Extension } from './extension.ts';

export type EmbeddedService = Readonly<{
  api: ApiClient;
  /** The service's database, for a look at tables: a team's read models have no HTTP calls of their own. */
  db: Db;
  /** What this run keeps lies in it. */
  folder: string;
  /** Asks again, some times a second, until the answer is something. */
  until<T>(probe: () => Promise<T | undefined>): Promise<T>;
}>;

/** An order takes seconds; past this the logs in the folder tell more than waiting. */
const workLimitMilliseconds = 120_000;

/** See `runOnEmbeddedStack`. A first SIGINT or SIGTERM stops in order, too. */
export async function runEmbedded(
  name: string,
  extensions: readonly Extension[],
  work: (service: EmbeddedService) => Promise<void>,
): Promise<void> {
  try {
    await startWorkAndStop(name, extensions, work);
    process.exit();
  } catch (error) {
    process.stderr.write(`${error instanceof StartupError ? error.message : inspect(error)}\n`);
    process.exit(1);
  }
}

async function startWorkAndStop(
  name: string,
  extensions: readonly Extension[],
  work: (service: EmbeddedService) => Promise<void>,
): Promise<void> {
  const { signal } = listenForStop();
  const settings = await ownSettings(name);
  const folder = resolve(settings.dataDir);
  const report = (line: string): void => void process.stdout.write(`${line}\n`);
  report(`Starting the service in ${folder} (the first start may take a minute).`);
  const searchAttributes = Object.fromEntries(sagaSearchAttributes.map((each) => [each, 'Keyword'] as const));
  const environment = inheritedEnvironment();
  const stack = await startEmbeddedStack({ settings, environment, searchAttributes, report, signal });
  const started: Running[] = [stack];
  try {
    const logger = createLogger({ level: settings.logLevel, role: name, file: `${folder}/logs/service.log` });
    started.unshift(await startService({ settings: stack.settings, timings: [], logger, signal, extensions }));
    const db = connectDatabase({
      url: stack.settings.databaseUrl,
      poolSize: 2,
      applicationName: `athyper-${name}`,
      onIdleError: () => undefined,
    });
    started.unshift({ stop: async () => await db.destroy() });
    const service = { api: createApiClient(apiUrlOf(stack.settings), signal), db, folder, until };
    await Promise.race([work(service), cutShort(stack, signal, folder)]);
  } finally {
    await stopAll(started);
  }
  const mails = existsSync(join(folder, 'mail')) ? `, its mails in ${join(folder, 'mail')}` : '';
  report(`Stopped. Its logs are in ${join(folder, 'logs')}${mails}.`);
}

/** Nothing of what the environment names, but programs and limits: no server of somebody else's, no port of a service. */
async function ownSettings(name: string): Promise<Settings> {
  const given = readSettings('dev');
  return {
    ...given,
    host: '127.0.0.1',
    port: await findFreePort(),
    portIsExplicit: false,
    databaseUrl: undefined,
    databaseDirectUrl: undefined,
    redisUrl: undefined,
    temporalAddress: undefined,
    temporalUiUrl: undefined,
    workflowBundle: undefined,
    smtpUrl: undefined,
    dataDir: join(given.dataDir, name),
  };
}

async function until<T>(probe: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const answer = await probe();
    if (answer !== undefined) return answer;
    await sleep(100);
  }
}

/** Rejects when there is no point in waiting for the work any longer. */
async function cutShort(stack: EmbeddedStack, signal: AbortSignal, folder: string): Promise<never> {
  const ends = Promise.withResolvers<string>();
  const timer = setTimeout(
    () => ends.resolve(`Not done within ${workLimitMilliseconds / 1000} s; its logs are in ${folder}/logs.`),
    workLimitMilliseconds,
  ).unref();
  signal.addEventListener('abort', () => ends.resolve('Stopped.'));
  void stack.broken.then(ends.resolve);
  const why = await ends.promise;
  clearTimeout(timer);
  throw new StartupError(why);
}
