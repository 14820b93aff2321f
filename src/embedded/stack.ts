// The embedded stack of one DATA_DIR: what `dev` needs and the settings do not name.
import { accessSync, constants, mkdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { defaultTemporalUiUrl, type Settings } from '../platform/config.ts';
import { StartupError } from '../platform/startup-error.ts';
import { lockFolder } from './folder-lock.ts';
import { embedPostgres, embedTemporal } from './parts.ts';
import { choosePorts } from './ports.ts';
import { keptWebhookSecret } from './settings-file.ts';
import type { SearchAttributes } from './temporal-server.ts';
import { startWatchdog, type Watchdog } from './watchdog.ts';

export type StackOptions = Readonly<{
  settings: Settings;
  /** The whole environment, for child processes and to look up programs. */
  environment: NodeJS.ProcessEnv;
  /** What the sagas' runs are found by; the embedded Temporal registers them. */
  searchAttributes: SearchAttributes;
  /** Gets a line about what takes long. */
  report: (line: string) => void;
  /** Gives up a start that is under way: it rejects with the signal's reason, with nothing left running. */
  signal?: AbortSignal;
}>;

export type CompletedSettings = Settings &
  Readonly<{ databaseUrl: string; temporalAddress: string; temporalUiUrl: string; paymentsWebhookSecret: string }>;

export type Timing = Readonly<{ name: string; ms: number }>;

export type EmbeddedStack = Readonly<{
  settings: CompletedSettings;
  /** Where the time of the start went; PostgreSQL and Temporal start at once. */
  timings: readonly Timing[];
  /** Resolves, with what happened, if an embedded server ends without having been told to. */
  broken: Promise<string>;
  /** Ends what was started: Temporal, PostgreSQL, watchdog, lock. Stop the service first. Safe to call twice. */
  stop(): Promise<void>;
}>;

type Part = Readonly<{ ended: Promise<string>; stop(): Promise<void> }>;
type Parts = { postgres?: Part; temporal?: Part };

/**
 * Starts what is unset in the settings, and returns when all of it serves.
 * @throws StartupError where one part cannot start; then nothing is left running and the folder is free.
 */
export async function startEmbeddedStack(options: StackOptions): Promise<EmbeddedStack> {
  const folder = openFolder(options.settings.dataDir);
  const timings: Timing[] = [];
  const watchdog = startWatchdog(options.environment);
  const unlock = await lockOrRelease(folder, watchdog);
  const parts: Parts = {};
  let stopping: Promise<void> | undefined;
  const stop = () => (stopping ??= stopAll(parts, watchdog, unlock));
  try {
    const settings = await startParts(options, { folder, watchdog, parts, time: stopwatch(timings) });
    const broken = new Promise<string>((tell) => {
      for (const [name, part] of [
        ['PostgreSQL', parts.postgres],
        ['The Temporal dev server', parts.temporal],
      ] as const) {
        void part?.ended.then((how) =>
          stopping === undefined
            ? tell(`${name} has ended by itself (${how}); its log is in ${folder}/logs.`)
            : undefined,
        );
      }
    });
    return { settings, timings, broken, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

type StartDeps = Readonly<{ folder: string; watchdog: Watchdog; parts: Parts; time: ReturnType<typeof stopwatch> }>;

async function startParts(
  options: StackOptions,
  { folder, watchdog, parts, time }: StartDeps,
): Promise<CompletedSettings> {
  const { settings } = options;
  const { ports, releaseApi } = await choosePorts(folder, { port: settings.port, explicit: settings.portIsExplicit });
  const failure = new AbortController();
  const signal = options.signal === undefined ? failure.signal : AbortSignal.any([options.signal, failure.signal]);
  const deps = { ...options, folder, ports, watchdog, time, signal };
  // The first failure ends the other part's search for a program, so that it is shown at once.
  const giveUp = (error: unknown) => failure.abort(error);
  const { databaseUrl, temporalAddress } = settings;
  const database = databaseUrl === undefined ? embedPostgres(deps, (part) => (parts.postgres = part)) : { databaseUrl };
  const temporal =
    temporalAddress === undefined
      ? embedTemporal(deps, (part) => (parts.temporal = part))
      : { temporalAddress, temporalUiUrl: settings.temporalUiUrl ?? defaultTemporalUiUrl(temporalAddress) };
  await Promise.all([Promise.resolve(database).catch(giveUp), Promise.resolve(temporal).catch(giveUp)]);
  await releaseApi();
  // With the reason of whatever failed first.
  signal.throwIfAborted();
  const paymentsWebhookSecret = settings.paymentsWebhookSecret ?? keptWebhookSecret(folder);
  return { ...settings, ...(await database), ...(await temporal), paymentsWebhookSecret, port: ports.api };
}

async function stopAll(parts: Parts, watchdog: Watchdog, unlock: () => void): Promise<void> {
  // Temporal keeps nothing in our PostgreSQL, but its last tasks may still make the worker use it.
  await parts.temporal?.stop();
  await parts.postgres?.stop();
  await watchdog.release();
  unlock();
}

async function lockOrRelease(folder: string, watchdog: Watchdog): Promise<() => void> {
  try {
    return await lockFolder(folder, watchdog.identity);
  } catch (error) {
    await watchdog.release();
    throw error;
  }
}

function openFolder(dataDir: string): string {
  const folder = resolve(dataDir);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
    return folder;
  } catch (error) {
    const cause = error instanceof Error ? error.message : String(error);
    throw new StartupError(
      `The folder ${folder} cannot be used: ${cause}. Make it writable for this user, or set DATA_DIR to another one.`,
    );
  }
}

function stopwatch(timings: Timing[]) {
  return async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    try {
      return await work();
    } finally {
      timings.push({ name, ms: Math.round(performance.now() - start) });
    }
  };
}
