// How often properties are tried: SEED=… repeats what a failure has printed, RUNS=… tries longer.

const numberOf = (name: string): number | undefined => {
  const text = process.env[name];
  return text === undefined || text === '' ? undefined : Number(text);
};

/** The time limit also ends the search for a smaller example, so that what was found is told. */
export function propertyRuns(
  runs: number,
  limitMilliseconds: number,
): Readonly<{ numRuns: number; seed: number; interruptAfterTimeLimit: number }> {
  const numRuns = numberOf('RUNS') ?? runs;
  const seed = numberOf('SEED') ?? Math.floor(Math.random() * 2 ** 31);
  return { numRuns, seed, interruptAfterTimeLimit: Math.ceil((limitMilliseconds * numRuns) / runs) };
}
