// What every activity does around its work: its row of saga_steps, and the one switch from our errors to Temporal's.
import { activityInfo, heartbeat, log } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { ConflictError, DomainError } from '../src/domain/errors.ts';
import type { EventContext, EventMetadata } from '../src/domain/event.ts';
import { stepContext } from '../src/domain/ids.ts';
import { refusedForGood } from '../src/domain/saga-resolution.ts';
import type { StepState } from '../src/domain/saga-status.ts';
import type { Db, Queryable } from '../src/platform/database.ts';
import { writeAttempt, writeStep } from './step-rows.ts';

export type StepWork = Readonly<{
  workflowId: string;
  /** Ids of the step's events are derived from workflow and activity, so a repeated step appends the same ones. */
  context: EventContext;
  db: Db;
  /** Call it in the transaction of the step's effect, so that the row says what is the case. */
  record(db: Queryable, state: StepState): Promise<void>;
}>;

/**
 * `undo`: the row keeps the step's own attempts, which say how the step went, until `record` says that it is undone.
 * `must`: it only goes forward. Neither has refusals that the saga could act on: see `refusedForGood`.
 */
export type StepKind = 'do' | 'undo' | 'must';
export type RunStep = <T>(
  name: string,
  metadata: EventMetadata,
  work: (step: StepWork) => Promise<T>,
  kind?: StepKind,
) => Promise<T>;

/** Somebody else saved the same aggregate in between: decided again with fresh state. Losing this often is no chance. */
const mostConflicts = 10;

/** Four in the time after which Temporal takes the worker for dead (`untilItWorks`). A quick step sends none at all. */
const heartbeatMilliseconds = 500;

export function createStepRunner({ db }: Readonly<{ db: Db }>): RunStep {
  return async (name, metadata, work, kind = 'do') => {
    const info = activityInfo();
    const { attempt } = info;
    const workflowId = info.workflowExecution?.workflowId ?? 'none';
    const of = { workflowId, name };
    const undo = kind === 'undo';
    const counted = undo ? 0 : attempt;
    const record = async (queryable: Queryable, state: StepState, error?: unknown): Promise<void> =>
      await writeStep(queryable, of, { state, attempt: counted, error });
    // Only a sign of life. The cancellation that its answer may bring is not looked at: a step is brought to its end, and
    // what a stop leaves behind is undone afterwards.
    const beating = setInterval(heartbeat, heartbeatMilliseconds);
    try {
      if (!undo) await writeAttempt(db, of, { attempt, undo });
      for (let conflicts = 0; ; conflicts += 1) {
        try {
          const context = stepContext(metadata, workflowId, info.activityType);
          return await work({ workflowId, context, db, record });
        } catch (error) {
          if (!(error instanceof ConflictError) || conflicts >= mostConflicts) throw error;
        }
      }
    } catch (error) {
      const isRefused = kind === 'do' && error instanceof DomainError;
      const recorded = isRefused
        ? record(db, 'refused', error)
        : writeAttempt(db, of, { attempt: counted, error, undo });
      await recorded.catch((failed: unknown) => {
        log.warn('the step could not be recorded', { step: name, error: String(failed) });
      });
      throw toFailure(error, kind);
    } finally {
      clearInterval(beating);
    }
  };
}

/**
 * A refusal ends the step at once and pages nobody; everything else is retried by Temporal. Of what has no refusals it
 * is retried as well, but slowly: an undo that were given up on would leave money or stock behind.
 */
function toFailure(error: unknown, kind: StepKind): unknown {
  if (!(error instanceof DomainError)) return error;
  const failure =
    kind === 'do'
      ? ApplicationFailure.create({
          message: error.message,
          type: error.code,
          nonRetryable: true,
          category: ApplicationFailureCategory.BENIGN,
        })
      : ApplicationFailure.create({ message: `${error.code}: ${error.message}`, type: refusedForGood });
  failure.stack = `${error.name}: ${error.message}`;
  return failure;
}
