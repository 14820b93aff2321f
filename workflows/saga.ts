// The saga kit: steps with an undo, run so that money is never half moved. General: knows no order.
import {
  ActivityFailure,
  ApplicationFailure,
  CancellationScope,
  CancelledFailure,
  condition,
  defineQuery,
  isCancellation,
  log,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
  type ActivityOptions,
} from '@temporalio/workflow';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { SagaStatus, StepState } from '../src/domain/saga-status.ts';

const sagaStatusKey = defineSearchAttributeKey('SagaStatus', 'KEYWORD');
const sagaStepKey = defineSearchAttributeKey('SagaStep', 'KEYWORD');

/** "You may not": the step said no, retrying changes nothing. `code` is the type of the step's failure. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** The step was retried to its limit without an answer. What it did, if anything, is unknown. */
export class StepGaveUp extends Error {
  override readonly name = 'StepGaveUp';
}

/** Somebody asked the saga to stop: by a signal, or by cancelling the run in Temporal. */
export class StopRequested extends Error {
  override readonly name = 'StopRequested';
}

export type StepRecord = Readonly<{ name: string; state: StepState; error?: string }>;
const sagaStepsQuery = defineQuery<readonly StepRecord[]>('sagaSteps');

/**
 * Retried for ever. One attempt may take far longer than a step needs, as long as its worker gives signs of life: a dead
 * worker's step is tried elsewhere once none has come for `heartbeatTimeout` (docs/adr/0007-fast-failover.md).
 */
export const untilItWorks: ActivityOptions = {
  startToCloseTimeout: '10 seconds',
  heartbeatTimeout: '2 seconds',
  retry: { initialInterval: '500ms', backoffCoefficient: 2, maximumInterval: '10s' },
};

export type Step<T> = Readonly<{
  do: () => Promise<T>;
  /** Registered before `do` runs, since a step that gave no answer may have taken effect. Must be a no-op then too. */
  undo?: () => Promise<void>;
  /**
   * A stop interrupts the step between its attempts. Only where the undo leaves a tombstone that a late attempt
   * meets; never for money, which is always brought to an answer first.
   */
  interruptible?: boolean;
}>;

export type Saga<Name extends string> = Readonly<{
  /** @throws Refusal, StepGaveUp, or StopRequested; anything else is a bug and keeps the run waiting for a fix */
  step<T>(name: Name, step: Step<T>): Promise<T>;
  /** Undoes in reverse order. Steps are retried until they work. */
  compensate(): Promise<void>;
  /** From a signal handler. The saga stops at its next safe point. */
  requestStop(): void;
  stopRequested(): boolean;
  throwIfStopped(): void;
  /** The run's last word in the Web UI and in the search attributes. */
  finish(status: SagaStatus, details: string): void;
}>;

type Undo<Name extends string> = Readonly<{ name: Name; undo: () => Promise<void> }>;

export type SagaOptions<Name extends string> = Readonly<{
  title: string;
  steps: readonly Name[];
  /** Past the point of no return from its first step on: stop requests change nothing. */
  forwardOnly?: boolean;
}>;

/**
 * Runs `body` as a saga. The whole body is shielded from Temporal's own cancellation, which counts as a stop request;
 * the body must catch StopRequested, compensate and return, and the run then ends as cancelled. (Cancellation types
 * alone do not protect a step that is between two attempts: measured, the charge lands and nobody refunds it.)
 */
export async function runSaga<Name extends string, T>(
  { title, steps, forwardOnly = false }: SagaOptions<Name>,
  body: (saga: Saga<Name>) => Promise<T>,
): Promise<T> {
  const records = new Map<Name, StepRecord>(steps.map((name) => [name, { name, state: 'pending' }]));
  const undos: Undo<Name>[] = [];
  let cancelled = false;
  let stop = false;
  /** The stop was acted on. One that comes after the last step is too late to change how the run ends. */
  let stopped = false;
  setHandler(sagaStepsQuery, () => [...records.values()]);
  CancellationScope.current().cancelRequested.catch(() => {
    cancelled = true;
    if (!forwardOnly) stop = true;
  });

  const show = (status: SagaStatus, step: string, details: string): void => {
    upsertSearchAttributes([
      { key: sagaStatusKey, value: status },
      { key: sagaStepKey, value: step },
    ]);
    const lines = [...records.values()].map(({ name, state, error }) =>
      error === undefined ? `- ${name}: ${state}` : `- ${name}: ${state} (${error})`,
    );
    setCurrentDetails(`**${title}**: ${details}\n\n${lines.join('\n')}`);
  };
  const note = (name: Name, state: StepState, error?: string): void => {
    records.set(name, error === undefined ? { name, state } : { name, state, error });
  };

  const saga: Saga<Name> = {
    async step(name, { do: work, undo, interruptible }) {
      saga.throwIfStopped();
      if (undo !== undefined) undos.push({ name, undo });
      note(name, 'running');
      show('Running', name, `${name} is running`);
      try {
        const result = await (interruptible === true ? untilStopped(work, () => stop) : work());
        note(name, 'done');
        return result;
      } catch (error) {
        const known = classify(error, interruptible === true && stop);
        if (known instanceof StopRequested) stopped = true;
        if (known instanceof Refusal) {
          note(name, 'refused', `${known.code}: ${known.message}`);
          // A refusal is the step's word that it holds nothing and never will: there is nothing to undo.
          if (undo !== undefined) undos.pop();
        }
        throw known;
      }
    },
    async compensate() {
      for (let last = undos.pop(); last !== undefined; last = undos.pop()) {
        show('Compensating', last.name, `undoing ${last.name}`);
        await last.undo();
        note(last.name, 'undone');
      }
    },
    requestStop() {
      stop = true;
    },
    stopRequested: () => stop,
    throwIfStopped() {
      if (!stop) return;
      stopped = true;
      throw new StopRequested('the saga was asked to stop');
    },
    finish: (status, details) => show(status, 'end', details),
  };

  log.info('saga started', { title });
  const result = await CancellationScope.nonCancellable(async () => await body(saga));
  if (cancelled && stopped) throw new CancelledFailure('the run was cancelled; what it had done is undone');
  return result;
}

/** Cancels the step's scope when a stop is asked for; the step's undo then meets whatever attempt comes late. */
async function untilStopped<T>(work: () => Promise<T>, isStopped: () => boolean): Promise<T> {
  const scope = new CancellationScope();
  let finished = false;
  const watching = condition(() => finished || isStopped()).then(() => {
    if (!finished) scope.cancel();
  });
  try {
    return await scope.run(work);
  } finally {
    finished = true;
    await watching;
  }
}

/** Once a stop is asked for, Temporal does not repeat an interruptible step: its failure then is the stop, too. */
function classify(error: unknown, interrupted: boolean): unknown {
  if (isCancellation(error)) return new StopRequested('the step was interrupted by a stop');
  if (!(error instanceof ActivityFailure)) return error;
  const { cause } = error;
  if (cause instanceof ApplicationFailure && cause.nonRetryable === true) {
    return new Refusal(cause.type ?? 'refused', cause.message);
  }
  if (interrupted) return new StopRequested(`a stop came while the step failed: ${cause?.message ?? error.message}`);
  return new StepGaveUp(`no answer within the step's limit: ${cause?.message ?? error.message}`);
}
