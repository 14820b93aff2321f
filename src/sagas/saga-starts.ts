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
  /**
   * Before another run is started. Nobody else may repair this saga for half a minute: in that time the caller has made
   * sure once more that no run lives and the order has not ended, and has called Temporal.
   * @returns false where somebody else is at it
   */
  claimRepair(workflowId: string, aggregateId: string, eventId: string): Promise<boolean>;
  /** Written after Temporal has the new run. */
  markRepaired(workflowId: string, runId: string | undefined): Promise<void>;
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
  const starting = (workflowId: string, aggregateId: string, eventId: string) =>
    ({
      workflow_id: workflowId,
      aggregate_id: aggregateId,
      event_id: eventId,
      state: 'starting',
      run_id: null,
      started_at: null,
    }) as const;
  return {
    find,
    async begin(workflowId, aggregateId, eventId) {
      const { numInsertedOrUpdatedRows } = await db
        .insertInto('saga_starts')
        .values(starting(workflowId, aggregateId, eventId))
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
    async claimRepair(workflowId, aggregateId, eventId) {
      const until = sql<Date>`now() + interval '30 seconds'`;
      const { numInsertedOrUpdatedRows } = await db
        .insertInto('saga_starts')
        .values({ ...starting(workflowId, aggregateId, eventId), repairs: 1, repair_until: until })
        .onConflict((conflict) =>
          conflict
            .column('workflow_id')
            .doUpdateSet((eb) => ({ repairs: eb('saga_starts.repairs', '+', 1), repair_until: until }))
            .where(sql<boolean>`coalesce(saga_starts.repair_until < now(), true)`),
        )
        .executeTakeFirst();
      return (numInsertedOrUpdatedRows ?? 0n) > 0n;
    },
    async markRepaired(workflowId, runId) {
      await db
        .updateTable('saga_starts')
        .set({
          state: 'started',
          started_at: sql<Date>`now()`,
          repair_until: sql<Date>`now()`,
          ...(runId === undefined ? {} : { run_id: runId }),
        })
        .where('workflow_id', '=', workflowId)
        .execute();
    },
  };
}
