// How a run ends that was refused: FAILED, with the refusal's code as its type.
import { ApplicationFailure } from '@temporalio/workflow';

/** A refusal is no bug: the place in the code tells an operator nothing, and would show the machine's paths. */
export function refusedRun({ code, message }: Readonly<{ code: string; message: string }>): ApplicationFailure {
  const failure = ApplicationFailure.nonRetryable(message, code);
  failure.stack = `${failure.name}: ${failure.message}`;
  return failure;
}
