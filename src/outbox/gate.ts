// In front of a destination that is asked whether it answers, so that no delivery is tried while it does not.
import { setTimeout as sleep } from 'node:timers/promises';
import { UnavailableError } from '../domain/errors.ts';
import type { Deliver, DestinationPolicy } from './delivery.ts';

export type GateDeps = Readonly<{
  /** Cheap, changes nothing, and has a deadline of its own. @throws where the destination does not answer */
  ask: () => Promise<void>;
}>;

export type Gate = Required<Pick<DestinationPolicy, 'untilBack'>> &
  Readonly<{
    /** Deliveries of this kind; while the destination is away each ends as UnavailableError without having been begun. */
    inFrontOf<E>(deliver: Deliver<E>): Deliver<E>;
    /**
     * Every call of a delivery to the destination: begun only on the word of an answer that is fresh and that few
     * others have begun on. So of those that begin after the destination's death there are `callsPerAnswer` at most.
     * @throws UnavailableError without having called, where the destination does not answer; and what the call throws
     */
    call<T>(work: () => Promise<T>): Promise<T>;
  }>;

/** So long an answer is believed. One that is hardly used is asked four times a second at most, by all together. */
const believedMilliseconds = 250;
/** A busy one is asked again after so many calls: none is begun between the question and its answer. */
const callsPerAnswer = 3;
const askAgainMilliseconds = 500;

/** `untilBack` finds it when it is back. */
export function createGate({ ask }: GateDeps): Gate {
  let answeredAt = Number.NEGATIVE_INFINITY;
  let begunSince = 0;
  let asking: Promise<void> | undefined;

  const isFresh = (): boolean => performance.now() - answeredAt <= believedMilliseconds;
  const mayBegin = (): boolean => isFresh() && begunSince < callsPerAnswer;

  async function askTogether(): Promise<void> {
    asking ??= ask()
      .then(() => {
        answeredAt = performance.now();
        begunSince = 0;
      })
      .finally(() => (asking = undefined));
    await asking;
  }

  async function mustAnswer(): Promise<void> {
    await askTogether().catch((error: unknown) => {
      if (error instanceof UnavailableError) throw error;
      const reason = error instanceof Error ? error.message : String(error);
      throw new UnavailableError(`the destination does not answer: ${reason}`, { cause: error });
    });
  }

  /** What has found the destination away is believed before any answer of the past. */
  async function orAway<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (error instanceof UnavailableError) answeredAt = Number.NEGATIVE_INFINITY;
      throw error;
    }
  }

  return {
    inFrontOf: (deliver) => async (delivery) => {
      if (!isFresh()) await mustAnswer();
      return await orAway(async () => await deliver(delivery));
    },
    async call(work) {
      while (!mayBegin()) await mustAnswer();
      begunSince += 1;
      return await orAway(work);
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
