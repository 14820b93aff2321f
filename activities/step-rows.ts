// The rows of saga_steps: what GET /orders/{id}/saga reads. A word that comes too late never covers a later one.
import { sql } from 'kysely';
import type { StepState } from '../src/domain/saga-status.ts';
import type { Queryable } from '../src/platform/database.ts';

export type StepOf = Readonly<{ workflowId: string; name: string }>;
export type StepWord = Readonly<{ state: StepState; attempt: number; error?: unknown }>;

/** In the transaction of the step's effect, so that the row says what is the case. */
export async function writeStep(db: Queryable, of: StepOf, { state, attempt, error }: StepWord): Promise<void> {
  const message = messageOf(error);
  await db
    .insertInto('saga_steps')
    .values({ workflow_id: of.workflowId, step: of.name, state, attempts: attempt, error: message })
    .onConflict((conflict) =>
      conflict
        .columns(['workflow_id', 'step'])
        .doUpdateSet({
          state,
          attempts: mostAttempts,
          error: message,
          updated_at: sql<Date>`now()`,
        })
        .where(sql<boolean>`saga_steps.state <> all(${settledBefore(state)}::text[])`),
    )
    .execute();
}

/**
 * An attempt that begins, or has failed and is tried again: of what is parked, or undone, the state stays.
 * `undo`: so does the state of the step itself, which says how it went, until it is undone.
 */
export async function writeAttempt(
  db: Queryable,
  of: StepOf,
  { attempt, error, undo }: Readonly<{ attempt: number; error?: unknown; undo: boolean }>,
): Promise<void> {
  const message = messageOf(error);
  const kept = undo ? sql<boolean>`true` : sql<boolean>`saga_steps.state = 'parked'`;
  await db
    .insertInto('saga_steps')
    .values({ workflow_id: of.workflowId, step: of.name, state: 'running', attempts: attempt, error: message })
    .onConflict((conflict) =>
      conflict
        .columns(['workflow_id', 'step'])
        .doUpdateSet({
          state: sql<StepState>`case when ${kept} then saga_steps.state else 'running' end`,
          attempts: mostAttempts,
          // The attempt that begins does not wipe out why the step is parked.
          error: message ?? sql<string | null>`case when saga_steps.state = 'parked' then saga_steps.error end`,
          updated_at: sql<Date>`now()`,
        })
        .where(sql<boolean>`saga_steps.state <> all(${undo ? ['undone'] : ['done', 'undone']}::text[])`),
    )
    .execute();
}

type ParkedWord = Readonly<{
  undoing: boolean;
  byHand: boolean;
  error: string;
  /** When the saga said so, by Temporal's clock. */
  since: Date;
}>;

/**
 * Unless it has been dealt with since: a note that comes late finds the step undone, or, of one that goes forward, done.
 * Undone before, it is parked all the same: its effect is there, and its answer does not get through.
 */
export async function writeParked(db: Queryable, of: StepOf, word: ParkedWord): Promise<void> {
  const { undoing, since } = word;
  const columns = { state: 'parked', undoing, by_hand: word.byHand, error: messageOf(word.error) } as const;
  await db
    .insertInto('saga_steps')
    .values({ workflow_id: of.workflowId, step: of.name, ...columns })
    .onConflict((conflict) =>
      conflict
        .columns(['workflow_id', 'step'])
        .doUpdateSet({ ...columns, updated_at: sql<Date>`now()` })
        // Clocks may differ; what is late by so little is said again after the next attempt.
        .where(
          sql<boolean>`saga_steps.state <> all(${undoing ? ['undone'] : ['done', 'undone']}::text[])
            or saga_steps.updated_at < ${since}`,
        ),
    )
    .execute();
}

/** An operator has ended the step. */
export async function writeResolution(
  db: Queryable,
  of: StepOf,
  word: Readonly<{ state: StepState; resolution: string }>,
): Promise<void> {
  await db
    .updateTable('saga_steps')
    .set({ ...word, error: null, updated_at: sql<Date>`now()` })
    .where('workflow_id', '=', of.workflowId)
    .where('step', '=', of.name)
    .execute();
}

const mostAttempts = sql<number>`greatest(saga_steps.attempts, excluded.attempts)`;
/** PostgreSQL's text holds no NUL, and an error of somebody else's may hold anything. */
const messageOf = (error: unknown): string | null =>
  error === undefined
    ? null
    : (error instanceof Error ? error.message : String(error)).replaceAll('\u0000', '').slice(0, 500);

/** An attempt that was given up on may fail long after another has succeeded: its word comes too late. */
function settledBefore(state: StepState): readonly StepState[] {
  if (state === 'undone') return [];
  return state === 'done' ? ['undone'] : ['done', 'undone'];
}
