// What every activity does around its work: its row of saga_steps, and the one switch from our errors to Temporal's.
import { activityInfo, heartbeat, log } from '@temporalio/activity';
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { sql } from 'kysely';
import { ConflictError, DomainError } from '../src/domain/errors.ts';
import type { EventContext, EventMetadata } from '../src/domain/event.ts';
import { stepContext } from '../src/domain/ids.ts';
import type { StepState } from '../src/domain/saga-status.ts';
import type { Db, Queryable } from '../src/platform/database.ts';

export type StepWork = Readonly<{
  workflowId: string;
  /** Ids of the step's events are derived from workflow and activity, so a repeated step appends the same ones. */
  context: EventContext;
  db: Db;
  /** Call it in the transaction of the step's effect, so that the row says what is the case. */
  record(db: Queryable, state: StepState): Promise<void>;
}>;

/** `undo`: the row keeps the step's own attempts, which say how the step went, until `record` says that it is undone. */
export type RunStep = <T>(
  name: string,
  metadata: EventMetadata,
  work: (step: StepWork) => Promise<T>,
  kind?: 'do' | 'undo',
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
    const recordState = async (queryable: Queryable, state: StepState, error?: unknown): Promise<void> =>
      await writeStep(queryable, { workflowId, name, state, attempt: kind === 'do' ? attempt : 0, error });
    // Only a sign of life. The cancellation that its answer may bring is not looked at: a step is brought to its end, and
    // what a stop leaves behind is undone afterwards.
    const beating = setInterval(heartbeat, heartbeatMilliseconds);
    try {
      if (kind === 'do') await recordState(db, 'running');
      for (let conflicts = 0; ; conflicts += 1) {
        try {
          const context = stepContext(metadata, workflowId, info.activityType);
          return await work({ workflowId, context, db, record: recordState });
        } catch (error) {
          if (!(error instanceof ConflictError) || conflicts >= mostConflicts) throw error;
        }
      }
    } catch (error) {
      const state = kind === 'undo' ? 'done' : error instanceof DomainError ? 'refused' : 'running';
      await recordState(db, state, error).catch((failed: unknown) => {
        log.warn('the step could not be recorded', { step: name, error: String(failed) });
      });
      // An undo has no refusals: it is retried until it works, or the rest would not be undone.
      throw kind === 'undo' ? error : toFailure(error);
    } finally {
      clearInterval(beating);
    }
  };
}

/** A refusal ends the step at once and pages nobody; everything else is retried by Temporal. */
function toFailure(error: unknown): unknown {
  if (!(error instanceof DomainError)) return error;
  const failure = ApplicationFailure.create({
    message: error.message,
    type: error.code,
    nonRetryable: true,
    category: ApplicationFailureCategory.BENIGN,
  });
  failure.stack = `${error.name}: ${error.message}`;
  return failure;
}

type StepRow = Readonly<{ workflowId: string; name: string; state: StepState; attempt: number; error: unknown }>;

async function writeStep(db: Queryable, { workflowId, name, state, attempt, error }: StepRow): Promise<void> {
  const message = error === undefined ? null : (error instanceof Error ? error.message : String(error)).slice(0, 500);
  await db
    .insertInto('saga_steps')
    .values({ workflow_id: workflowId, step: name, state, attempts: attempt, error: message })
    .onConflict((conflict) =>
      conflict
        .columns(['workflow_id', 'step'])
        .doUpdateSet((eb) => ({
          state,
          attempts: eb.fn('greatest', [eb.ref('saga_steps.attempts'), eb.ref('excluded.attempts')]),
          error: message,
          updated_at: sql<Date>`now()`,
        }))
        .where(sql<boolean>`saga_steps.state <> all(${settledBefore(state)}::text[])`),
    )
    .execute();
}

/** An attempt that was given up on may fail long after another has succeeded: its word comes too late. */
function settledBefore(state: StepState): readonly StepState[] {
  if (state === 'undone') return [];
  return state === 'done' ? ['undone'] : ['done', 'undone'];
}
