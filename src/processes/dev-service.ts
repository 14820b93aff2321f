// The service on top of the embedded stack: migrated, started, and ready, or stopped again with a reason.
import { setTimeout as sleep } from 'node:timers/promises';
import type { CompletedSettings, Timing } from '../embedded/stack.ts';
import type { Running } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import { StartupError } from '../platform/startup-error.ts';
import { migrateAll } from './migrate.ts';
import { startRole } from './roles.ts';

/** What is embedded answers in seconds; a Temporal that somebody else runs may be starting as well. */
const defaultReadyWithinMilliseconds = 60_000;

export type DevService = Readonly<{
  settings: CompletedSettings;
  timings: Timing[];
  logger: Logger;
  signal: AbortSignal;
  readyWithinMilliseconds?: number;
}>;

/** @throws StartupError where it is not ready in time, naming what is missing; the signal's reason where it aborts */
export async function startService(service: DevService): Promise<Running> {
  const { settings, timings, logger, signal, readyWithinMilliseconds = defaultReadyWithinMilliseconds } = service;
  await timed(timings, 'migrations', async () => await migrateAll(settings.databaseUrl));
  signal.throwIfAborted();
  const start = async (): Promise<Running> => await startRole('all', settings, logger);
  const running = await timed(timings, 'api, worker and relay', start);
  try {
    const ready = async (): Promise<void> => await untilReady(apiUrlOf(settings), readyWithinMilliseconds, signal);
    await timed(timings, 'until /readyz answers 200', ready);
    return running;
  } catch (error) {
    // Why it is stopped is what a person must read, not what else failed then.
    await running.stop().catch((err: unknown) => logger.warn({ err }, 'some parts did not stop in order'));
    throw error;
  }
}

/** Where this machine reaches the API. */
export function apiUrlOf({ host, port }: CompletedSettings): string {
  const isLocal = host === undefined || ['127.0.0.1', '0.0.0.0', '::', '::1'].includes(host);
  return `http://${isLocal ? 'localhost' : host}:${port}`;
}

async function untilReady(apiUrl: string, withinMilliseconds: number, signal: AbortSignal): Promise<void> {
  const until = performance.now() + withinMilliseconds;
  for (;;) {
    const answer = await fetch(`${apiUrl}/readyz`, { signal });
    const text = await answer.text();
    if (answer.ok) return;
    if (performance.now() > until) {
      throw new StartupError(`The service is not ready after ${withinMilliseconds / 1000} s: ${missingIn(text)}.`);
    }
    await sleep(50, undefined, { signal });
  }
}

function missingIn(text: string): string {
  const { checks } = JSON.parse(text) as { checks: Readonly<Record<string, { ok: boolean; detail?: string }>> };
  const missing = Object.entries(checks).filter(([, check]) => !check.ok);
  return missing.map(([name, { detail }]) => `${name} (${detail ?? 'no detail'})`).join(', ');
}

async function timed<T>(timings: Timing[], name: string, work: () => Promise<T>): Promise<T> {
  const start = performance.now();
  const result = await work();
  timings.push({ name, ms: Math.round(performance.now() - start) });
  return result;
}
