// Kills what it is given with -9, at times that a seed has chosen, and brings it back after an outage of its choice.
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';

export type Victim = Readonly<{
  /** Of several victims of one kind; counted by it. */
  kind: string;
  /** How often it is killed at least. */
  leastTimes: number;
  /** kill -9, and its end. */
  kill(): Promise<void>;
  /** Returns when it serves again. */
  bringBack(): Promise<void>;
}>;

/** Counted from when the victim serves, and from when it is dead. */
type Strike = Readonly<{ afterMilliseconds: number; outageMilliseconds: number }>;

const milliseconds = (min: number, max: number): fc.Arbitrary<number> => fc.noBias(fc.integer({ min, max }));
const strikes = fc.record({
  afterMilliseconds: milliseconds(500, 12_000),
  outageMilliseconds: milliseconds(50, 3_000),
});

/** More than any run comes to. */
const mostStrikes = 1_000;

/**
 * Each victim has a time-table of its own, so that several are away at once; the same seed and victims make the same one.
 * Goes on until `signal` aborts and each victim has had its least times.
 * @returns how often each kind was killed, when all are back
 * @throws what a victim that could not be killed, or brought back, has thrown
 */
export async function killAtRandom(
  victims: readonly Victim[],
  seed: number,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, number>> {
  const kills = new Map<string, number>();
  const killAgainAndAgain = async (victim: Victim, plan: readonly Strike[]): Promise<void> => {
    for (const [times, strike] of plan.entries()) {
      if (signal.aborted && times >= victim.leastTimes) return;
      await delay(strike.afterMilliseconds);
      await victim.kill();
      kills.set(victim.kind, (kills.get(victim.kind) ?? 0) + 1);
      await delay(strike.outageMilliseconds);
      await victim.bringBack();
    }
  };
  await Promise.all(
    victims.map(async (victim, index) => {
      await killAgainAndAgain(victim, fc.sample(strikes, { seed: seed + index, numRuns: mostStrikes }));
    }),
  );
  return kills;
}
