// Looks at a server every few seconds, so that a scrape costs it nothing and waits for nothing.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Running } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';

export type Sampler<T> = Running &
  Readonly<{
    /** What the last look found; undefined before the first that worked. */
    latest(): T | undefined;
    /** Since then, or since the start. */
    ageSeconds(): number;
  }>;

export type SamplerOptions = Readonly<{
  /** For the log. */
  source: string;
  logger: Logger;
  /** Between two looks. */
  everyMilliseconds: number;
}>;

/** A look that takes long is repeated less often: at most a twentieth of the time is spent on looking. */
const restFactor = 20;

/** While the server is away the last look stays, and grows old. @param look must come to an end by itself */
export function runSampler<T>(look: () => Promise<T>, options: SamplerOptions): Sampler<T> {
  const { source, logger, everyMilliseconds } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  let last: T | undefined;
  let lastAt = performance.now();
  let failing = false;

  async function run(): Promise<void> {
    while (!signal.aborted) {
      const begun = performance.now();
      try {
        last = await look();
        lastAt = performance.now();
        failing = false;
      } catch (error) {
        if (!failing) logger.warn({ err: error, source }, 'metrics could not be sampled; they grow old meanwhile');
        failing = true;
      }
      const rest = Math.max(everyMilliseconds, restFactor * (performance.now() - begun));
      await sleep(failing ? everyMilliseconds : rest, undefined, { signal }).catch(() => undefined);
    }
  }

  const running = run();
  return {
    latest: () => last,
    ageSeconds: () => (performance.now() - lastAt) / 1000,
    async stop() {
      stopping.abort();
      await running;
    },
  };
}
