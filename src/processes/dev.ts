// Roles `dev` and `demo`: the embedded stack, the whole service in one process, and the demo's orders.
import { resolve } from 'node:path';
import { sagaSearchAttributes } from '../domain/saga-contract.ts';
import { markDemoPlayed, wasDemoPlayed } from '../embedded/demo-marker.ts';
import { runDemo } from '../embedded/demo.ts';
import { watchParent } from '../embedded/parent-watch.ts';
import { announceService, findService } from '../embedded/running-service.ts';
import { startEmbeddedStack, type EmbeddedStack, type Timing } from '../embedded/stack.ts';
import { inheritedEnvironment, readSettings, type Settings } from '../platform/config.ts';
import { listenForStop, runUntilStopped, stopAll, type StopSignals } from '../platform/lifecycle.ts';
import { createLogger } from '../platform/logger.ts';
import { StartupError } from '../platform/startup-error.ts';
import { apiUrlOf, startService } from './dev-service.ts';
import type { Extension } from './extension.ts';

/** All ports are free within 10 s of the end of npm, so the service gets less than that. */
const graceSeconds = 7;
const print = (line: string): void => void process.stdout.write(`${line}\n`);

export type DevLaunch = Readonly<{ parentPid: number; extensions: readonly Extension[] }>;

/** `npm start`. Stays up until it is stopped. @throws StartupError where a person has to mend something */
export async function runDev({
  playDemo,
  parentPid,
  extensions,
}: DevLaunch & Readonly<{ playDemo: boolean }>): Promise<void> {
  const loaded = { name: 'loading the program', ms: Math.round(performance.now()) };
  const stop = listenForStop();
  const environment = inheritedEnvironment();
  const onGone = (): void => {
    stop.request('npm is gone');
    // Also where a start on a slow machine cannot be given up at once (initdb): the watchdog ends what is left.
    setTimeout(() => process.exit(1), graceSeconds * 1000).unref();
  };
  watchParent({ environment, parentPid, onGone });
  try {
    await runUntilToldToStop({ playDemo, loaded, stop, environment, extensions });
  } catch (error) {
    // A stop during the start is no error: what was started is stopped by then.
    if (!stop.signal.aborted || error instanceof StartupError) throw error;
  }
  print('Stopped.');
}

type DevRun = Readonly<{
  playDemo: boolean;
  loaded: Timing;
  stop: StopSignals;
  environment: NodeJS.ProcessEnv;
  extensions: readonly Extension[];
}>;

async function runUntilToldToStop({ playDemo, loaded, stop, environment, extensions }: DevRun): Promise<void> {
  const { signal } = stop;
  const given = readSettings('dev');
  const settings = {
    ...given,
    // Anyone who reaches the API may order: on a developer's machine that is the developer.
    host: given.host ?? '127.0.0.1',
    shutdownGraceSeconds: Math.min(given.shutdownGraceSeconds, graceSeconds),
  };
  const folder = resolve(settings.dataDir);
  print(`Starting Athyper Sagas in ${folder} (the first start may take a minute).`);
  const searchAttributes = Object.fromEntries(sagaSearchAttributes.map((name) => [name, 'Keyword'] as const));
  const stack = await startEmbeddedStack({ settings, environment, searchAttributes, report: print, signal });
  const logger = createLogger({ level: settings.logLevel, role: 'dev', file: `${folder}/logs/service.log` });
  const timings: Timing[] = [loaded, ...stack.timings];
  try {
    // From the beginning: a service whose database is gone would be waited for in vain.
    void stack.broken.then((what) => {
      print(`${what} Stopping.`);
      process.exitCode = 1;
      stop.request(what);
    });
    const running = await startService({ settings: stack.settings, timings, logger, signal, extensions });
    const apiUrl = apiUrlOf(stack.settings);
    const forget = announceService(folder, { apiUrl, temporalUiUrl: stack.settings.temporalUiUrl });
    printAddresses(given, stack, timings);
    await playDemoOnce({ apiUrl, folder, stop, wanted: playDemo || !wasDemoPlayed(folder) });
    const parts = { stop: async () => await stopAll([{ stop: async () => forget() }, running, stack]) };
    await runUntilStopped(parts, { stop, graceSeconds: graceSeconds + 2, logger });
  } finally {
    await stack.stop();
  }
}

/** `npm run demo`: on the service that runs in this folder, or else as `npm start` with the demo. */
export async function runDemoOnly(launch: DevLaunch): Promise<void> {
  const settings = readSettings('demo');
  const service = await findService(resolve(settings.dataDir));
  if (service === undefined) {
    await runDev({ playDemo: true, ...launch });
    return;
  }
  const results = await runDemo({ apiUrl: service.apiUrl, print });
  if (results.some(({ status, expected }) => status !== expected)) process.exitCode = 1;
  markDemoPlayed(resolve(settings.dataDir));
}

/** What was given by hand is not shown: its owner knows it, and it may be a secret of somewhere else. */
function printAddresses(given: Settings, stack: EmbeddedStack, timings: readonly Timing[]): void {
  const { settings } = stack;
  const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;
  // Since the process began; npm itself comes before that.
  print(
    `Ready after ${seconds(performance.now())}: ${timings.map(({ name, ms }) => `${name} ${seconds(ms)}`).join(', ')}.`,
  );
  print('');
  print(`  API              ${apiUrlOf(settings)}`);
  print(`  Temporal Web UI  ${settings.temporalUiUrl}/namespaces/${settings.temporalNamespace}/workflows`);
  if (given.temporalAddress === undefined) print(`  Temporal         ${settings.temporalAddress}`);
  if (given.databaseUrl === undefined) print(`  PostgreSQL       ${settings.databaseUrl}`);
  if (given.paymentsWebhookSecret === undefined) {
    print(`  PAYMENTS_WEBHOOK_SECRET  ${settings.paymentsWebhookSecret}`);
  }
}

type DemoRun = Readonly<{ apiUrl: string; folder: string; stop: StopSignals; wanted: boolean }>;

async function playDemoOnce({ apiUrl, folder, stop, wanted }: DemoRun): Promise<void> {
  print('');
  if (!wanted) {
    print('The demo has been played in this folder before; `npm run demo` plays it again. Ctrl-C stops everything.');
    return;
  }
  try {
    await runDemo({ apiUrl, print, signal: stop.signal });
    markDemoPlayed(folder);
    print('');
    print('The service stays up. Ctrl-C stops everything.');
  } catch (error) {
    if (stop.signal.aborted) return;
    print(`The demo did not play to its end: ${error instanceof Error ? error.message : String(error)}`);
  }
}
