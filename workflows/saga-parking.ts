// What may not be given up on: retried fast, then parked, which is visible, still retried, and open to an operator.
import {
  ActivityCancellationType,
  ActivityFailure,
  defineSignal,
  isCancellation,
  log,
  setHandler,
  sleep,
  workflowInfo,
  type ActivityOptions,
} from '@temporalio/workflow';
import {
  readResolveMessage,
  refusedForGood,
  resolutionActions,
  resolveSignal,
  type ParkedStep,
  type Resolution,
  type ResolutionAction,
  type ResolveMessage,
} from '../src/domain/saga-resolution.ts';
import type { Board } from './saga-board.ts';
import { isRefused, reasonOf } from './saga-outcomes.ts';
import { runUntil } from './saga-scope.ts';

/** Work that takes the options of its activity, and with them how patient it is. */
export type Persistent<T> = (options: ActivityOptions) => Promise<T>;

/** What a saga writes down about its parked steps: a note, retried for a while, and decisions, until it works. */
export type ParkingRecords = Readonly<{
  parked(options: ActivityOptions, step: ParkedStep): Promise<void>;
  resolved(options: ActivityOptions, resolution: Resolution): Promise<void>;
}>;

export type Patience = Readonly<{ parkAfterSeconds?: number; parkedRetrySeconds?: number }>;
/** Two minutes of trouble are an outage that people should see; after that there is no hurry. */
const defaults = { parkAfterSeconds: 120, parkedRetrySeconds: 60 };

export type Insistence = Readonly<{
  /** It is the step's undo. */
  undoing: boolean;
  /** An operator may say that it is not done, or was done elsewhere: where nothing comes of its answer. */
  byHand: boolean;
  /** The step may say no, and that is its answer. Otherwise a refusal parks it at once. */
  refusalIsAnswer: boolean;
  onParked?: () => void;
}>;

export type Parking = Readonly<{
  /** @returns the answer, or how an operator has ended it. @throws a refusal that is its answer, and bugs */
  insist<T>(name: string, work: Persistent<T>, how: Insistence): Promise<Insisted<T>>;
}>;
type Insisted<T> = Readonly<{ answer: T }> | Readonly<{ byHand: Exclude<ResolutionAction, 'retry'> }>;
type Attempt<T> = Readonly<{ answer: T }> | Readonly<{ failure: Error }>;
type Decided<T> = Readonly<{ answer: T }> | Readonly<{ decision: Decision }>;

/**
 * While it is parked, Temporal's server counts the slow retries, so that a step which is parked for months does not
 * grow the run's history: that has a limit, and a run that meets it is terminated, with nothing undone.
 */
export function createParking(
  deps: Readonly<{ board: Board; records: ParkingRecords; untilItWorks: ActivityOptions; limits: Patience }>,
): Parking {
  const { board, records, untilItWorks, limits } = deps;
  const parkAfter = limits.parkAfterSeconds ?? defaults.parkAfterSeconds;
  const slowly = limits.parkedRetrySeconds ?? defaults.parkedRetrySeconds;
  const fast: ActivityOptions = {
    ...untilItWorks,
    scheduleToCloseTimeout: `${parkAfter} seconds`,
    retry: { ...untilItWorks.retry, nonRetryableErrorTypes: [refusedForGood] },
  };
  const slow: ActivityOptions = {
    ...untilItWorks,
    retry: { initialInterval: `${slowly} seconds`, backoffCoefficient: 1, maximumInterval: `${slowly} seconds` },
    // An attempt that runs when an operator decides is waited for: what it answers counts.
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  };
  const decisions = createDecisions(board);

  /** Shown by the run all the same, so a note that cannot be written holds up the retries no longer than a while. */
  async function noted(parked: ParkedStep): Promise<void> {
    try {
      await records.parked({ ...untilItWorks, scheduleToCloseTimeout: `${parkAfter} seconds` }, parked);
    } catch (error) {
      if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
      log.warn('a parked step was not noted', { step: parked.step, error: reasonOf(error) });
    }
  }

  /** @returns whether it is written down: what is not has no effect */
  async function applied(resolution: Resolution): Promise<boolean> {
    const { step, action, reference, resolvedBy } = resolution;
    const said = `${step}: ${action}, said ${resolvedBy}${reference === null ? '' : ` (${reference})`}`;
    const written = await attempt(async () => await records.resolved(untilItWorks, resolution), {
      refusalIsAnswer: false,
    });
    board.remark('answer' in written ? said : `${said}: could not be written down: ${reasonOf(written.failure)}`);
    return 'answer' in written;
  }

  /** Parked, and retried slowly, until it works or an operator decides. */
  async function untilDecided<T>(work: Persistent<T>, how: Insistence, parked: ParkedStep): Promise<Decided<T>> {
    const { step } = parked;
    const isDecided = (): boolean => decisions.has(step);
    for (;;) {
      const retried = async (): Promise<T> => {
        await noted(parked);
        await sleep(`${slowly} seconds`, { summary: `${step} is parked` });
        return await work(slow);
      };
      const ended = await attempt(async () => await runUntil(retried, isDecided), how);
      if ('answer' in ended) return ended;
      const decision = decisions.take(step);
      // None: a step that gave itself up in spite of these options. It is not given up on.
      if (decision !== undefined) return { decision };
    }
  }

  async function insist<T>(name: string, work: Persistent<T>, how: Insistence): Promise<Insisted<T>> {
    const { undoing, byHand } = how;
    for (;;) {
      const ended = await attempt(async () => await work(fast), how);
      if ('answer' in ended) return ended;
      const error = reasonOf(ended.failure);
      log.warn('a step is parked', { step: name, undoing, error });
      board.park(name, error, byHand ? resolutionActions : ['retry']);
      how.onParked?.();
      const decided = await untilDecided(work, how, { step: name, undoing, byHand, error });
      if ('answer' in decided) return decided;
      const { action } = decided.decision;
      const isApplied = await applied({ ...decided.decision, undoing });
      if (isApplied && action !== 'retry') return { byHand: action };
    }
  }

  return {
    async insist(name, work, how) {
      try {
        return await insist(name, work, how);
      } finally {
        board.unpark(name);
        decisions.drop(name);
      }
    },
  };
}

/** @throws what no retry can mend and no operator should: an answer that is a refusal, and bugs */
async function attempt<T>(
  work: () => Promise<T>,
  { refusalIsAnswer }: Pick<Insistence, 'refusalIsAnswer'>,
): Promise<Attempt<T>> {
  try {
    return { answer: await work() };
  } catch (error) {
    const isFailure = error instanceof ActivityFailure || isCancellation(error);
    if (!isFailure || !(error instanceof Error) || (refusalIsAnswer && isRefused(error))) throw error;
    return { failure: error };
  }
}

type Decision = Omit<Resolution, 'undoing'>;
type Decisions = Readonly<{
  has(step: string): boolean;
  take(step: string): Decision | undefined;
  /** The step has ended: what was still to be done about it is moot. */
  drop(step: string): void;
}>;

/** Signals come at least once, and some are typed by hand: only what fits a parked step counts, the rest is shown. */
function createDecisions(board: Board): Decisions {
  const waiting = new Map<string, Decision[]>();
  const seen = new Set<string>();
  let byHand = 0;

  function idOf(message: ResolveMessage): string {
    byHand += 1;
    return message.eventId ?? `${workflowInfo().runId}:${byHand}`;
  }

  setHandler(defineSignal<[unknown]>(resolveSignal), (given) => {
    const message = readResolveMessage(given);
    if (typeof message === 'string') {
      board.remark(`ignored: a resolution that is not understood (${message})`);
      return;
    }
    const { step, action, reference, resolvedBy, eventId } = message;
    if (eventId !== undefined && seen.has(eventId)) return;
    if (eventId !== undefined) seen.add(eventId);
    const actions = board.actionsOf(step);
    if (actions === undefined) {
      board.remark(`ignored: ${action} of ${step}, which is not parked`);
    } else if (!actions.includes(action)) {
      board.remark(`ignored: ${action} of ${step}, of which there is only ${actions.join(', ')}`);
    } else {
      const decision: Decision = {
        step,
        action,
        reference: reference ?? null,
        resolvedBy: resolvedBy ?? 'operator',
        resolutionId: idOf(message),
        requestId: eventId ?? null,
      };
      waiting.set(step, [...(waiting.get(step) ?? []), decision]);
    }
  });

  return {
    has: (step) => (waiting.get(step) ?? []).length > 0,
    take: (step) => waiting.get(step)?.shift(),
    drop(step) {
      for (const { action } of waiting.get(step) ?? []) board.remark(`too late: ${action} of ${step}, which is over`);
      waiting.delete(step);
    },
  };
}
