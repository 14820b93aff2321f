// In front of a destination that is asked whether it answers, so that no delivery is tried while it does not.
import { setTimeout as sleep } from 'node:timers/promises';
import { UnavailableError } from '../domain/errors.ts';
import type { StoredEvent } from '../domain/event.ts';
import type { Deliver, DestinationPolicy } from './delivery.ts';

export type GateDeps<E = StoredEvent> = Readonly<{
  deliver: Deliver<E>;
  /** Cheap, changes nothing, and has a deadline of its own. @throws where the destination does not answer */
  ask: () => Promise<void>;
}>;

/** So long an answer is believed. A busy destination is asked four times a second at most, by all deliveries together. */
const believedMilliseconds = 250;
const askAgainMilliseconds = 500;

/**
 * What is delivered while the destination is away ends as UnavailableError without having been tried: only what was
 * begun in the quarter of a second before anybody noticed has called it. `untilBack` finds it when it is back.
 */
export function createGate<E = StoredEvent>({
  deliver,
  ask,
}: GateDeps<E>): Required<Pick<DestinationPolicy<E>, 'deliver' | 'untilBack'>> {
  let answeredAt = Number.NEGATIVE_INFINITY;
  let asking: Promise<void> | undefined;

  async function askTogether(): Promise<void> {
    asking ??= ask()
      .then(() => void (answeredAt = performance.now()))
      .finally(() => (asking = undefined));
    await asking;
  }

  return {
    async deliver(delivery) {
      if (performance.now() - answeredAt > believedMilliseconds) {
        await askTogether().catch((error: unknown) => {
          if (error instanceof UnavailableError) throw error;
          const reason = error instanceof Error ? error.message : String(error);
          throw new UnavailableError(`the destination does not answer: ${reason}`, { cause: error });
        });
      }
      try {
        return await deliver(delivery);
      } catch (error) {
        if (error instanceof UnavailableError) answeredAt = Number.NEGATIVE_INFINITY;
        throw error;
      }
    },
    async untilBack(signal) {
      // One that answers and still takes no delivery (misconfigured) is not back: then the pause counts.
      let wasSilent = false;
      while (!signal.aborted) {
        const answers = await askTogether().then(
          () => true,
          () => false,
        );
        if (answers && wasSilent) return;
        wasSilent ||= !answers;
        await sleep(askAgainMilliseconds, undefined, { signal }).catch(() => undefined);
      }
    },
  };
}
