// One reconciliation: every comparison in its turn, and what is safe is mended where that is wanted.
import { UnavailableError } from '../domain/errors.ts';
import type { ReconcileSummary } from '../domain/reconcile-contract.ts';
import { isDatabaseUnavailable } from '../platform/database.ts';
import type { Comparison, Difference, Scope } from './difference.ts';

/** `person`: nothing here mends it. `found`: it would have been mended. `left`, `failed`: it was tried. */
export type Outcome = 'person' | 'found' | 'mended' | 'left' | 'failed';
export type Finding = Omit<Difference, 'mend'> & Readonly<{ outcome: Outcome; error?: string }>;

export type ReconcileOptions = Scope &
  Readonly<{
    repair: boolean;
    /** Called with each as it is found, or mended. */
    report: (finding: Finding) => void;
  }>;

/** By name, in the order in which they run: an earlier one's repair may spare a later one its difference. */
export type Comparisons = Readonly<Record<string, Comparison>>;

/** @throws where the database is away, or `onPage` has thrown. A Temporal that is away is in `notCompared`. */
export async function reconcile(comparisons: Comparisons, options: ReconcileOptions): Promise<ReconcileSummary> {
  const kinds = new Map<string, number>();
  const notCompared: string[] = [];
  let mended = 0;
  let differences = 0;
  for (const [name, compare] of Object.entries(comparisons)) {
    try {
      for await (const difference of compare(options)) {
        const finding = await settle(difference, options.repair);
        if (finding === undefined) continue;
        kinds.set(finding.kind, (kinds.get(finding.kind) ?? 0) + 1);
        if (finding.outcome === 'mended') mended += 1;
        else differences += 1;
        options.report(finding);
      }
    } catch (error) {
      if (!(error instanceof UnavailableError)) throw error;
      notCompared.push(`${name}: ${error.message}`);
    }
  }
  return { differences, mended, kinds: Object.fromEntries(kinds), notCompared };
}

/** @returns undefined where it is no difference any more */
async function settle({ mend, ...difference }: Difference, repair: boolean): Promise<Finding | undefined> {
  if (mend === undefined) return { ...difference, outcome: 'person' };
  if (!repair) return { ...difference, outcome: 'found' };
  try {
    const outcome = await mend();
    return outcome === 'over' ? undefined : { ...difference, outcome };
  } catch (error) {
    // The next one would fail as well, and the next reconciliation finds this one again.
    if (error instanceof UnavailableError || isDatabaseUnavailable(error)) throw error;
    return { ...difference, outcome: 'failed', error: error instanceof Error ? error.message : String(error) };
  }
}
