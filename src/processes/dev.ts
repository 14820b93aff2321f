// Roles `dev` and `demo`: the embedded stack, the whole service in one process, and the demo's orders.
import { resolve } from 'node:path';
import { sagaSearchAttributes } from '../domain/saga-contract.ts';
import { markDemoPlayed, wasDemoPlayed } from '../embedded/demo-marker.ts';
import { runDemo } from '../embedded/demo.ts';
import { watchParent } from '../embedded/parent-watch.ts';
import { announceService, findService } from '../embedded/running-service.ts';
import { startEmbeddedStack, type EmbeddedStack, type Timing } from '../embedded/stack.ts';
import { inheritedEnvironment, readSettings } from '../platform/config.ts';
import { listenForStop, runUntilStopped, stopAll, type Running, type StopSignals } from '../platform/lifecycle.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { migrateToLatest } from '../platform/migrate.ts';
import { startRole } from './roles.ts';

/** All ports are free within 10 s of the end of npm, so the service gets less than that. */
const graceSeconds = 7;
const print = (line: string): void => void process.stdout.write(`${line}\n`);

/** `npm start`. Stays up until it is stopped. @throws StartupError where a person has to mend something */
export async function runDev(options: Readonly<{ playDemo: boolean }>): Promise<void> {
  const loaded = { name: 'loading the program', ms: Math.round(performance.now()) };
  const stop = listenForStop();
  const environment = inheritedEnvironment();
  watchParent({ environment, onGone: () => stop.request('npm is gone') });
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
  const signal = stop.signal;
  const stack = await startEmbeddedStack({ settings, environment, searchAttributes, report: print, signal });
  const timings: Timing[] = [loaded, ...stack.timings];
  const logger = createLogger({ level: settings.logLevel, role: 'dev', file: `${folder}/logs/service.log` });
  const running = await startService(stack, timings, logger);
  const forget = announceService(folder, { apiUrl: apiUrlOf(stack), temporalUiUrl: stack.settings.temporalUiUrl });
  void stack.broken.then((what) => {
    print(`${what} Stopping.`);
    process.exitCode = 1;
    stop.request(what);
  });
  printAddresses(stack, timings);
  await playDemo({ stack, folder, stop, wanted: options.playDemo || !wasDemoPlayed(folder) });
  await runUntilStopped(
    { stop: async () => await stopAll([{ stop: async () => forget() }, running, stack]) },
    { stop, graceSeconds: graceSeconds + 2, logger },
  );
  print('Stopped.');
}

/** `npm run demo`: on the service that runs in this folder, or else as `npm start` with the demo. */
export async function runDemoOnly(): Promise<void> {
  const settings = readSettings('demo');
  const service = await findService(resolve(settings.dataDir));
  if (service === undefined) {
    await runDev({ playDemo: true });
    return;
  }
  await runDemo({ apiUrl: service.apiUrl, print });
  markDemoPlayed(resolve(settings.dataDir));
}

async function startService(stack: EmbeddedStack, timings: Timing[], logger: Logger): Promise<Running> {
  try {
    await timed(timings, 'migrations', async () => await migrateToLatest(stack.settings.databaseUrl));
    const running = await timed(
      timings,
      'api, worker and relay',
      async () => await startRole('all', stack.settings, logger),
    );
    await timed(timings, 'until /readyz answers 200', async () => await untilReady(apiUrlOf(stack)));
    return running;
  } catch (error) {
    await stack.stop();
    throw error;
  }
}

const apiUrlOf = ({ settings }: EmbeddedStack): string => `http://localhost:${settings.port}`;

async function untilReady(apiUrl: string): Promise<void> {
  for (;;) {
    const answer = await fetch(`${apiUrl}/readyz`);
    await answer.body?.cancel();
    if (answer.ok) return;
    await new Promise((resume) => setTimeout(resume, 50));
  }
}

async function timed<T>(timings: Timing[], name: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await work();
  timings.push({ name, ms: Math.round(performance.now() - start) });
  return result;
}

function printAddresses(stack: EmbeddedStack, timings: readonly Timing[]): void {
  const { settings } = stack;
  const seconds = (milliseconds: number): string => `${(milliseconds / 1000).toFixed(1)} s`;
  // Since the process began; npm itself comes before that.
  print(
    `Ready after ${seconds(performance.now())}: ${timings.map(({ name, ms }) => `${name} ${seconds(ms)}`).join(', ')}.`,
  );
  print('');
  print(`  API              ${apiUrlOf(stack)}`);
  print(`  Temporal Web UI  ${settings.temporalUiUrl}/namespaces/${settings.temporalNamespace}/workflows`);
  print(`  PostgreSQL       ${settings.databaseUrl}`);
  print(`  PAYMENTS_WEBHOOK_SECRET  ${settings.paymentsWebhookSecret}`);
}

type DemoRun = Readonly<{ stack: EmbeddedStack; folder: string; stop: StopSignals; wanted: boolean }>;

async function playDemo({ stack, folder, stop, wanted }: DemoRun): Promise<void> {
  print('');
  if (!wanted) {
    print('The demo has been played in this folder before; `npm run demo` plays it again. Ctrl-C stops everything.');
    return;
  }
  try {
    await runDemo({ apiUrl: apiUrlOf(stack), print, signal: stop.signal });
    markDemoPlayed(folder);
    print('');
    print('The service stays up. Ctrl-C stops everything.');
  } catch (error) {
    if (stop.signal.aborted) return;
    print(`The demo did not play to its end: ${error instanceof Error ? error.message : String(error)}`);
  }
}
