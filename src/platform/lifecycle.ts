// How a process ends: in order on SIGTERM or SIGINT, at once on the second one.
import type { Logger } from './logger.ts';

/** `stop` finishes or hands back what is under way; called once. */
export type Running = Readonly<{ stop(): Promise<void> }>;

/** Stops in the given order, each part even if one before it fails. @throws AggregateError of the failures */
export async function stopAll(parts: readonly Running[]): Promise<void> {
  const failures: unknown[] = [];
  for (const part of parts) {
    try {
      await part.stop();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new AggregateError(failures, 'some parts did not stop in order');
}

export type StopSignals = Readonly<{
  /** Aborted by the first SIGTERM or SIGINT; its reason names it. */
  signal: AbortSignal;
  /** Stops for another reason, in the same way. */
  request(reason: string): void;
}>;

/** A Ctrl-C under npm comes twice: once from the terminal to the whole group, once passed on by npm. */
const sameSignalMilliseconds = 1_000;

/** Listens from now on, so that a signal during the start is not lost. A second signal ends the process at once. */
export function listenForStop(): StopSignals {
  const controller = new AbortController();
  let first: number | undefined;
  const onSignal = (name: NodeJS.Signals): void => {
    first ??= performance.now();
    if (performance.now() - first > sameSignalMilliseconds) process.exit(name === 'SIGINT' ? 130 : 143);
    controller.abort(name);
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  return { signal: controller.signal, request: (reason) => controller.abort(reason) };
}

/** Waits for the stop, then stops `running` within `graceSeconds`; past that the process ends with exit code 1. */
export async function runUntilStopped(
  running: Running,
  options: Readonly<{ stop: StopSignals; graceSeconds: number; logger: Logger }>,
): Promise<void> {
  const { stop, graceSeconds, logger } = options;
  if (!stop.signal.aborted) {
    await new Promise<void>((resolve) => {
      // Keeps the process alive also where nothing else does.
      const alive = setInterval(() => undefined, 60_000);
      stop.signal.addEventListener('abort', () => {
        clearInterval(alive);
        resolve();
      });
    });
  }
  logger.info({ reason: String(stop.signal.reason) }, 'stopping');
  const forced = setTimeout(() => {
    logger.error({ graceSeconds }, 'not stopped within the grace time; leases and Temporal hand over what is left');
    process.exit(1);
  }, graceSeconds * 1000);
  await running.stop();
  clearTimeout(forced);
  logger.info('stopped');
}
