// The saga kit: steps with an undo, run so that money is never half moved. General: knows no order.
import { CancellationScope, CancelledFailure, log, type ActivityOptions } from '@temporalio/workflow';
import type { SagaStatus } from '../src/domain/saga-status.ts';
import { createBoard } from './saga-board.ts';
import { classify, Refusal, StopRequested } from './saga-outcomes.ts';
import { createParking, type ParkingRecords, type Patience, type Persistent } from './saga-parking.ts';
import {
  checkPlan,
  firstPhase,
  listedSteps,
  mustBe,
  type CompensatableStep,
  type EndingStep,
  type PivotStep,
  type RetriableStep,
  type SagaPlan,
} from './saga-plan.ts';
import { runUntil } from './saga-scope.ts';

/**
 * Retried for ever. One attempt may take far longer than a step needs, as long as its worker gives signs of life: a dead
 * worker's step is tried elsewhere once none has come for `heartbeatTimeout` (docs/adr/0007-fast-failover.md).
 */
export const untilItWorks: ActivityOptions = {
  startToCloseTimeout: '10 seconds',
  heartbeatTimeout: '2 seconds',
  retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '10s' },
};

/** A step before the pivot: given up on at the limit of its activity, and then undone. */
export type Compensatable<T> = Readonly<{
  do: () => Promise<T>;
  /** Registered before `do` runs, since a step that gave no answer may have taken effect. Must be a no-op then too. */
  undo: Persistent<void>;
  /**
   * A stop interrupts the step between its attempts. Only where the undo leaves a tombstone that a late attempt
   * meets; never for money, which is always brought to an answer first.
   */
  interruptible?: boolean;
}>;

/** What is not given up on is parked instead: see saga-parking.ts. A step that is used as another class than the plan's does not compile. */
export type Saga<P extends SagaPlan> = Readonly<{
  /** @throws Refusal, StepGaveUp, or StopRequested; anything else is a bug and keeps the run waiting for a fix */
  compensatable<T>(name: CompensatableStep<P>, step: Compensatable<T>): Promise<T>;
  /**
   * The undo of a step that an earlier run may have done, which this run's history does not know. Adopted in the order
   * of the way, like steps; where this run undoes the step itself, that is enough.
   */
  adopt(name: CompensatableStep<P>, undo: Persistent<void>): void;
  /** Never given up on, since it may have taken effect. Done, nothing is undone any more. @throws Refusal, StopRequested */
  pivot<T>(name: PivotStep<P>, work: Persistent<T>): Promise<T>;
  /** Only forward, stopped or not: it has no refusals and is never given up on. `byHand`: an operator may end it. */
  retriable(name: RetriableStep<P>, work: Persistent<void>, options?: Readonly<{ byHand: boolean }>): Promise<void>;
  /** Only forward, like a retriable step; after `compensate`. */
  ending<T>(name: EndingStep<P>, work: Persistent<T>): Promise<T>;
  /** Part of a compensatable step that must come to an answer: an outcome that is unknown. A refusal is one. */
  settle<T>(name: CompensatableStep<P>, work: Persistent<T>): Promise<T>;
  /**
   * Part of a compensatable step that is not given up on, but whose answer nobody depends on: parked, an operator may end
   * it. Refused, it is parked at once. @returns undefined where somebody has ended it
   */
  orByHand<T>(name: CompensatableStep<P>, work: Persistent<T>): Promise<T | undefined>;
  /**
   * Undoes in reverse order. An undo that keeps failing, or is refused, is parked and holds up none of those before
   * it. Returns when each has worked, or an operator has dealt with it.
   */
  compensate(): Promise<void>;
  /** From a signal handler. The saga stops at its next safe point. */
  requestStop(): void;
  stopRequested(): boolean;
  throwIfStopped(): void;
  /** The run's last word in the Web UI and in the search attributes. */
  finish(status: SagaStatus, details: string): void;
}>;

export type SagaOptions<P extends SagaPlan> = Readonly<{
  title: string;
  plan: P;
  limits: Patience;
  records: ParkingRecords;
}>;

/** How a saga was asked to stop, and whether that counted. */
type Stop = {
  cancelled: boolean;
  requested: boolean;
  /** The stop was acted on. One that comes after the last step is too late to change how the run ends. */
  actedOn: boolean;
};

/**
 * Runs `body` as a saga. The whole body is shielded from Temporal's own cancellation, which counts as a stop request;
 * the body must catch StopRequested, compensate and return, and the run then ends as cancelled. (Cancellation types
 * alone do not protect a step that is between two attempts: measured, the charge lands and nobody refunds it.)
 */
export async function runSaga<P extends SagaPlan, T>(
  options: SagaOptions<P>,
  body: (saga: Saga<P>) => Promise<T>,
): Promise<T> {
  checkPlan(options.plan);
  const stop: Stop = { cancelled: false, requested: false, actedOn: false };
  const saga = createSaga(options, stop);
  CancellationScope.current().cancelRequested.catch(() => {
    stop.cancelled = true;
    saga.requestStop();
  });
  log.info('saga started', { title: options.title });
  const result = await CancellationScope.nonCancellable(async () => await body(saga));
  if (stop.cancelled && stop.actedOn) {
    throw new CancelledFailure('the run was cancelled; what it had done is undone');
  }
  return result;
}

function createSaga<P extends SagaPlan>({ title, plan, limits, records }: SagaOptions<P>, stop: Stop): Saga<P> {
  const board = createBoard(title, listedSteps(plan));
  const parking = createParking({ board, records, untilItWorks, limits });
  const undos: Readonly<{ name: string; undo: Persistent<void> }>[] = [];
  let phase = firstPhase(plan);

  function throwIfStopped(): void {
    // With nothing to undo, before its pivot or after it, a saga only goes forward.
    if (!stop.requested || phase === 'past the pivot' || plan.compensatable.length === 0) return;
    stop.actedOn = true;
    throw new StopRequested('the saga was asked to stop');
  }

  /** A step forward, shown while it runs; its failure as what it means to the saga. */
  async function forward<T>(name: string, work: () => Promise<T>, interruptible = false): Promise<T> {
    board.begin(name);
    board.show('Running', name, `${name} is running`);
    try {
      const result = await work();
      board.note(name, 'done');
      return result;
    } catch (error) {
      const known = classify(error, interruptible && stop.requested);
      if (known instanceof StopRequested) stop.actedOn = true;
      if (known instanceof Refusal) board.note(name, 'refused', `${known.code}: ${known.message}`);
      throw known;
    }
  }

  /** Its answer is needed, so an operator cannot end it: there is none without an answer. */
  async function insistOnAnswer<T>(name: string, work: Persistent<T>, refusalIsAnswer: boolean): Promise<T> {
    const insisted = await parking.insist(name, work, { undoing: false, byHand: false, refusalIsAnswer });
    if ('byHand' in insisted) throw new Error(`${name} was ended by hand, which it does not allow`);
    return insisted.answer;
  }

  async function undo(name: string, work: Persistent<void>, onParked: () => void): Promise<void> {
    board.begin(name);
    const how = { undoing: true, byHand: true, refusalIsAnswer: false, onParked };
    const insisted = await parking.insist(name, work, how);
    const skipped = 'byHand' in insisted && insisted.byHand === 'skip';
    board.note(name, skipped ? 'done' : 'undone');
  }

  return {
    async compensatable(name, { do: work, undo, interruptible = false }) {
      mustBe(phase, 'undoable', name);
      throwIfStopped();
      undos.push({ name, undo });
      try {
        const run = async () => (interruptible ? await runUntil(work, () => stop.requested) : await work());
        return await forward(name, run, interruptible);
      } catch (error) {
        // A refusal is the step's word that it holds nothing and never will: there is nothing to undo.
        if (error instanceof Refusal) undos.pop();
        throw error;
      }
    },
    adopt(name, undo) {
      mustBe(phase, 'undoable', name);
      undos.push({ name, undo });
    },
    async pivot(name, work) {
      mustBe(phase, 'undoable', name);
      throwIfStopped();
      const answer = await forward(name, async () => await insistOnAnswer(name, work, true));
      phase = 'past the pivot';
      undos.length = 0;
      return answer;
    },
    async retriable(name, work, { byHand } = { byHand: false }) {
      mustBe(phase, 'past the pivot', name);
      const how = { undoing: false, byHand, refusalIsAnswer: false };
      const insisted = await forward(name, async () => await parking.insist(name, work, how));
      if ('byHand' in insisted && insisted.byHand === 'skip') board.note(name, 'refused', 'skipped');
    },
    async ending(name, work) {
      mustBe(phase, 'undoing', name);
      board.begin(name);
      const answer = await insistOnAnswer(name, work, false);
      board.note(name, 'done');
      return answer;
    },
    settle: async (name, work) => await insistOnAnswer(name, work, true),
    async orByHand(name, work) {
      const insisted = await parking.insist(name, work, { undoing: false, byHand: true, refusalIsAnswer: false });
      return 'byHand' in insisted ? undefined : insisted.answer;
    },
    async compensate() {
      if (phase === 'past the pivot') throw new Error('past its pivot a saga is not undone');
      phase = 'undoing';
      const undoing: Promise<void>[] = [];
      const begun = new Set<string>();
      for (let last = undos.pop(); last !== undefined; last = undos.pop()) {
        const { name, undo: work } = last;
        if (begun.has(name)) continue;
        begun.add(name);
        board.show('Compensating', name, `undoing ${name}`);
        await new Promise<void>((goOn) => {
          const done = undo(name, work, goOn);
          undoing.push(done);
          // A bug is thrown below, where all of them are waited for.
          void done.then(goOn, goOn);
        });
      }
      await Promise.all(undoing);
    },
    requestStop() {
      stop.requested = true;
    },
    stopRequested: () => stop.requested,
    throwIfStopped,
    finish: (status, details) => board.show(status, 'end', details),
  };
}
