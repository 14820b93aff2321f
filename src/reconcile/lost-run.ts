// A saga's run that is gone although its end is waited for: terminated, timed out, its history deleted, or never started.
// Mended by another run under the same id, whose steps find what the first one did.
import type { SagaClient, SagaStartRequest } from '../sagas/saga-client.ts';
import type { SagaRun, SagaRuns } from '../sagas/saga-runs.ts';
import type { SagaStarts } from '../sagas/saga-starts.ts';
import type { Difference, DifferenceKind, Mended, Scope } from './difference.ts';

export type LostRunDeps = Readonly<{ runs: SagaRuns; client: SagaClient; starts: SagaStarts }>;

/** A saga that has been lost so often has something wrong that another run does not mend. */
const mostRepairs = 5;
/** Of the half minute that a claim lasts, the part in which Temporal may still be called. */
const callWithinMilliseconds = 15_000;

export type Wanted = Readonly<{
  is: string;
  right: string;
  /** The event that starts the saga. */
  eventId: string;
  request: SagaStartRequest;
}>;

/** A run whose end is waited for by our rows, so only a suspicion. */
export type WantedRun = Readonly<{
  kind: Extract<DifferenceKind, 'saga-gone' | 'refund-gone' | 'verification-gone'>;
  workflowId: string;
  /** Of the event that starts the saga. */
  aggregateId: string;
  ids: Readonly<Record<string, string>>;
  repairs: number;
  /** By what is stored now. @returns undefined where nobody waits for a run any more */
  look(): Promise<Wanted | undefined>;
  /** After the claim, with no run alive: what the new one must find in our streams. */
  prepare?(run: SagaRun): Promise<void>;
  /** It may end without a word in any stream, so one that ended by itself is not gone, whatever is waited for. */
  mayEndSilently?: boolean;
}>;

export async function* findLost(
  deps: LostRunDeps,
  pages: AsyncIterable<readonly WantedRun[]>,
  scope: Scope,
): AsyncGenerator<Difference> {
  for await (const page of pages) {
    const running = await deps.runs.runningAmong(page.map(({ workflowId }) => workflowId));
    for (const wanted of page.filter(({ workflowId }) => !running.has(workflowId))) {
      const run = await deps.runs.look(wanted.workflowId);
      if (!isLost(wanted, run, scope)) continue;
      const found = await wanted.look();
      if (found === undefined) continue;
      const isHopeless = wanted.repairs >= mostRepairs;
      const itsRun = `its run ${run.state === 'closed' ? `is ${run.status}` : 'is not there'}`;
      yield {
        kind: wanted.kind,
        ids: wanted.ids,
        is: `${found.is} and ${itsRun}${isHopeless ? ` after ${wanted.repairs} repairs` : ''}`,
        right: found.right,
        ...(isHopeless ? {} : { mend: async () => await startAgain(deps, wanted, scope) }),
      };
    }
  }
}

/** One that was ended just now may have a step's attempt under way, which ends within its ten seconds. */
export function isGone(run: SagaRun, { graceSeconds }: Scope): boolean {
  if (run.state !== 'closed') return run.state === 'none';
  return run.closedAt === undefined || Date.now() - run.closedAt.getTime() >= graceSeconds * 1000;
}

const endsFromOutside: ReadonlySet<string> = new Set(['TERMINATED', 'TIMED_OUT']);

const isLost = ({ mayEndSilently }: WantedRun, run: SagaRun, scope: Scope): boolean =>
  isGone(run, scope) && (mayEndSilently !== true || run.state !== 'closed' || endsFromOutside.has(run.status));

/**
 * Ended before the start: the claim runs out and the next one tries again. After it: the run lives, and nothing is left
 * to mend. Two at once: one has the claim; and a run too many would find everything done, and change nothing.
 */
async function startAgain({ runs, client, starts }: LostRunDeps, wanted: WantedRun, scope: Scope): Promise<Mended> {
  const { workflowId, aggregateId } = wanted;
  const began = performance.now();
  const before = await wanted.look();
  if (before === undefined) return 'over';
  if (!(await starts.claimRepair(workflowId, aggregateId, before.eventId))) return 'left';
  const run = await runs.look(workflowId);
  if (!isLost(wanted, run, scope)) return 'over';
  await wanted.prepare?.(run);
  const found = await wanted.look();
  if (found === undefined) return 'over';
  if (performance.now() - began > callWithinMilliseconds) return 'left';
  await starts.markRepaired(workflowId, await client.start({ ...found.request, isRepair: true }));
  return 'mended';
}
