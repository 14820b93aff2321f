// How a step can end that gave no answer, and what Temporal's failures mean by that.
import { ActivityFailure, ApplicationFailure, isCancellation, TimeoutFailure } from '@temporalio/workflow';

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

/** Once a stop is asked for, Temporal does not repeat an interruptible step: its failure then is the stop, too. */
export function classify(error: unknown, interrupted: boolean): unknown {
  if (isCancellation(error)) return new StopRequested('the step was interrupted by a stop');
  if (!(error instanceof ActivityFailure)) return error;
  const { cause } = error;
  if (cause instanceof ApplicationFailure && cause.nonRetryable === true) {
    return new Refusal(cause.type ?? 'refused', cause.message);
  }
  if (interrupted) return new StopRequested(`a stop came while the step failed: ${reasonOf(error)}`);
  return new StepGaveUp(`no answer within the step's limit: ${reasonOf(error)}`);
}

/** The step itself said no; a time-out, or a machine in trouble, is no refusal. */
export function isRefused(error: unknown): boolean {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  return cause instanceof ApplicationFailure && cause.nonRetryable === true;
}

/** For people: inside of Temporal's wrappers is what happened last. */
export function reasonOf(failure: Error): string {
  if (failure.cause instanceof Error) return reasonOf(failure.cause);
  // The server says what the last attempt met before the time-out; the SDK has it in the raw failure only.
  const beforeTimeout = failure instanceof TimeoutFailure ? failure.failure?.cause?.message : undefined;
  return beforeTimeout ?? failure.message;
}
