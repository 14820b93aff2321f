// Whether runs go on when a worker goes: how long their rows are silent, by the database's clock, and which attempts live.
import { sql } from 'kysely';
import { orderSagaId } from '../../src/domain/saga-contract.ts';
import { createHttpClient } from './http-client.ts';
import type { RoleProcess } from './role-process.ts';
import { eventually, type SagaService } from './saga-service.ts';

/** The database's clock, which the rows are stamped by. */
export async function databaseNow({ parts }: SagaService): Promise<Date> {
  const { rows } = await sql<{ now: Date }>`select clock_timestamp() as now`.execute(parts.db);
  return rows[0]?.now ?? new Date(Number.NaN);
}

/** Until a step of the run has written its row again; 0 where the run had ended before, as it may on a busy machine. */
export async function secondsOfSilence(service: SagaService, orderId: string, since: Date): Promise<number> {
  const first = await eventually(async () => {
    const { status } = await service.order(orderId);
    const row = await service.parts.db
      .selectFrom('saga_steps')
      .select((eb) => eb.fn.min('updated_at').as('first'))
      .where('workflow_id', '=', orderSagaId(orderId))
      .where('updated_at', '>', since)
      .executeTakeFirst();
    return row?.first ?? (status === 'submitted' ? undefined : since);
  });
  return (first.getTime() - since.getTime()) / 1000;
}

export async function submittedOf({ parts }: SagaService, orderIds: readonly string[]): Promise<readonly string[]> {
  const rows = await parts.db
    .selectFrom('orders')
    .select('order_id')
    .where('order_id', 'in', orderIds)
    .where('status', '=', 'submitted')
    .execute();
  return rows.map((row) => row.order_id);
}

/** One and the same attempt of the run's pending step has given signs of life for so long. @returns its number */
export async function attemptThatLived({ parts }: SagaService, workflowId: string, seconds: number): Promise<number> {
  return await eventually(async () => {
    const { raw } = await parts.temporal.workflow.getHandle(workflowId).describe();
    const activity = raw.pendingActivities?.[0];
    const secondsOf = (time: Readonly<{ seconds?: unknown }> | null | undefined): number => Number(time?.seconds ?? 0);
    const lived = secondsOf(activity?.lastHeartbeatTime) - secondsOf(activity?.lastStartedTime);
    return lived > seconds ? (activity?.attempt ?? undefined) : undefined;
  });
}

/** It polls, so Temporal may hand it tasks. */
export async function workerIsReady(worker: RoleProcess): Promise<void> {
  const probe = createHttpClient(worker.url);
  await eventually(async () => ((await probe.get('/readyz')).status === 200 ? true : undefined));
}
