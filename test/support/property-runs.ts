// How often properties are tried: SEED=… repeats what a failure has printed, RUNS=… tries longer.

const numberOf = (name: string): number | undefined => {
  const text = process.env[name];
  return text === undefined || text === '' ? undefined : Number(text);
};

export type PropertyRuns = Readonly<{
  numRuns: number;
  seed: number;
  /** After that a run is none, and counts as passed: also one that looks for a smaller example, so that the one found is told. */
  limitMilliseconds: number;
}>;

/** @param limitMilliseconds for that many runs; more of them get more */
export function propertyRuns(runs: number, limitMilliseconds: number): PropertyRuns {
  const numRuns = numberOf('RUNS') ?? runs;
  const seed = numberOf('SEED') ?? Math.floor(Math.random() * 2 ** 31);
  return { numRuns, seed, limitMilliseconds: Math.ceil((limitMilliseconds * numRuns) / runs) };
}
