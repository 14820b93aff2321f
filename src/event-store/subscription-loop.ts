// Runs a subscription for ever: in batches until there is nothing new, then waits for a commit or the next poll.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from '../platform/logger.ts';
import type { SubscriptionRunner } from './subscription.ts';

export type SubscriptionLoop = Readonly<{
  stop(): Promise<void>;
  /** Since the loop last came round. */
  ageMilliseconds(): number;
}>;

/** Wakes the loop after commits; see the outbox's. */
type WakeUp = Readonly<{
  mark(): number;
  wait(milliseconds: number, signal: AbortSignal, mark: number): Promise<void>;
}>;

/** A commit shows only when every older transaction has ended, so a poke may come too early: polling finds it. */
const pollMilliseconds = 250;
const longestRetryMilliseconds = 30_000;

export function runSubscription(
  runner: SubscriptionRunner,
  deps: Readonly<{ logger: Logger; wakeUp: WakeUp }>,
): SubscriptionLoop {
  const stopping = new AbortController();
  const { signal } = stopping;
  let last = performance.now();
  let failures = 0;

  async function run(): Promise<void> {
    while (!signal.aborted) {
      const mark = deps.wakeUp.mark();
      try {
        const applied = await runner.runOnce();
        failures = 0;
        last = performance.now();
        if (applied === 0) await deps.wakeUp.wait(pollMilliseconds, signal, mark);
      } catch (error) {
        failures += 1;
        deps.logger.error({ err: error, failures }, 'subscription batch failed; it is tried again');
        const pause = Math.min(longestRetryMilliseconds, 500 * 2 ** Math.min(10, failures));
        await sleep(pause, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  const running = run();
  return {
    async stop() {
      stopping.abort();
      await running;
    },
    ageMilliseconds: () => Math.round(performance.now() - last),
  };
}
