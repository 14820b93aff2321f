// Which saga was started. Temporal forgets a run after its retention and would then start a second; this does not (G4).
import { sql } from 'kysely';
import type { Db } from '../platform/database.ts';

export type SagaStart = Readonly<{ state: 'starting' | 'started'; runId: string | undefined }>;

export type SagaStarts = Readonly<{
  /** Written before Temporal is called. @returns what was there before; only `started` means skip */
  begin(workflowId: string, aggregateId: string, eventId: string): Promise<SagaStart | undefined>;
  /** Written after Temporal has the run. */
  markStarted(workflowId: string, runId: string | undefined): Promise<void>;
  find(workflowId: string): Promise<SagaStart | undefined>;
}>;

export function createSagaStarts(db: Db): SagaStarts {
  const find = async (workflowId: string): Promise<SagaStart | undefined> => {
    const row = await db
      .selectFrom('saga_starts')
      .select(['state', 'run_id'])
      .where('workflow_id', '=', workflowId)
      .executeTakeFirst();
    return row === undefined ? undefined : { state: row.state, runId: row.run_id ?? undefined };
  };
  return {
    find,
    async begin(workflowId, aggregateId, eventId) {
      const { numInsertedOrUpdatedRows } = await db
        .insertInto('saga_starts')
        .values({
          workflow_id: workflowId,
          aggregate_id: aggregateId,
          event_id: eventId,
          state: 'starting',
          run_id: null,
          started_at: null,
        })
        .onConflict((conflict) => conflict.doNothing())
        .executeTakeFirst();
      return (numInsertedOrUpdatedRows ?? 0n) > 0n ? undefined : await find(workflowId);
    },
    async markStarted(workflowId, runId) {
      await db
        .updateTable('saga_starts')
        .set({ state: 'started', started_at: sql<Date>`now()`, ...(runId === undefined ? {} : { run_id: runId }) })
        .where('workflow_id', '=', workflowId)
        .where('state', '=', 'starting')
        .execute();
    },
  };
}
