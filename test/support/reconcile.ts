// A reconciliation in the test's process, and sagas whose runs are lost at a step of the test's choice.
import { activityInfo } from '@temporalio/activity';
import type { ReconcileSummary } from '../../src/domain/reconcile-contract.ts';
import { orderSagaId, type OrderActivities } from '../../src/domain/saga-contract.ts';
import { reconcileParts } from '../../src/processes/reconcile.ts';
import type { Finding } from '../../src/reconcile/reconcile.ts';
import { sql } from 'kysely';
import { eventually, startSagaService, untilPending, type SagaService, type ServiceOptions } from './saga-service.ts';

/** Ready: bundling the workflows keeps this process busy for seconds, in which a connection may time out. */
export async function startBusyService(options: ServiceOptions = {}): Promise<SagaService> {
  const service = await startSagaService(options);
  const { db, temporal, settings } = service.parts;
  const taskQueue = { name: settings.temporalTaskQueue };
  await eventually(async () => {
    const { pollers } = await temporal.workflowService.describeTaskQueue({
      namespace: settings.temporalNamespace,
      taskQueue,
      taskQueueType: 1,
    });
    return pollers !== undefined && pollers !== null && pollers.length > 0 ? true : undefined;
  }, 60_000);
  await eventually(async () => await sql`select 1`.execute(db).catch(() => undefined));
  return service;
}

export type Reconciled = ReconcileSummary & Readonly<{ findings: readonly Finding[] }>;
type Options = Readonly<{ repair: boolean; graceSeconds?: number; sinceHours?: number }>;

/** Without a time of grace, unless one is given. */
export async function reconcileNow({ parts }: SagaService, options: Options): Promise<Reconciled> {
  const findings: Finding[] = [];
  const summary = await reconcileParts(parts, {
    graceSeconds: 0,
    sinceHours: undefined,
    ...options,
    onPage: () => undefined,
    report: (finding) => findings.push(finding),
  });
  return { ...summary, findings };
}

/** "kind id outcome" of each, in no order that matters. */
export const said = ({ findings }: Reconciled, id: string): readonly string[] =>
  findings.map(({ kind, ids, outcome }) => `${kind} ${ids[id] ?? '-'} ${outcome}`).toSorted();

type Activity = keyof OrderActivities;

export type StuckSteps = Readonly<{
  /** From now on every attempt of it fails: of `chargePayment` before anything is asked of the gateway. */
  hold(orderId: string, activity: Activity): void;
  free(orderId: string, activity: Activity): void;
  /** The run has got there. */
  reached(orderId: string, activity: Activity): Promise<void>;
}>;

export function createStuckSteps(service: SagaService): StuckSteps {
  const stuck = new Set<string>();
  const keyOf = (orderId: string, activity: string): string => `${orderSagaId(orderId)} ${activity}`;
  const failIfStuck = async (): Promise<void> => {
    const { activityType, workflowExecution } = activityInfo();
    if (stuck.has(`${workflowExecution?.workflowId} ${activityType}`)) throw new Error('the test holds this step');
  };
  service.faults.unitOfWork = failIfStuck;
  service.faults.prepare = async () => {
    if (activityInfo().activityType === 'chargePayment') await failIfStuck();
  };
  return {
    hold: (orderId, activity) => void stuck.add(keyOf(orderId, activity)),
    free: (orderId, activity) => void stuck.delete(keyOf(orderId, activity)),
    reached: async (orderId, activity) => await untilPending(service, orderSagaId(orderId), activity),
  };
}

/**
 * Ends the run as an operator's "Terminate" does: nothing is undone, and no attempt that is under way does more. Until the
 * list of runs shows it as well, a reconciliation takes it for one that runs, and leaves it to the next.
 */
export async function terminate({ parts, goneRuns }: SagaService, workflowId: string): Promise<void> {
  const { workflow } = parts.temporal;
  const { runId } = await workflow.getHandle(workflowId).describe();
  goneRuns.add(runId);
  await workflow.getHandle(workflowId).terminate('by the test');
  // By its end: one that began just now may not be in the list yet, and would still come as running.
  await eventually(async () => {
    const { count } = await workflow.count(`RunId = "${runId}" AND ExecutionStatus = "Terminated"`);
    return count === 1 ? true : undefined;
  });
}

/** Its order has ended a moment before. However the run ends: until then reconcile leaves its money to it. */
export async function closed({ parts }: SagaService, workflowId: string): Promise<void> {
  await parts.temporal.workflow
    .getHandle(workflowId)
    .result()
    .catch(() => 'a refusal is an end as well');
}

/** The server deletes in the background, and not soon where the run has closed just now. */
const deletedWithinMilliseconds = 200_000;

/** As the end of the retention does: Temporal knows nothing of the run any more. */
export async function deleteRun({ parts }: SagaService, workflowId: string): Promise<void> {
  const { temporal, settings } = parts;
  const namespace = settings.temporalNamespace;
  await temporal.workflowService.deleteWorkflowExecution({ namespace, workflowExecution: { workflowId } });
  await eventually(async () => {
    const run = await temporal.workflow
      .getHandle(workflowId)
      .describe()
      .catch(() => undefined);
    return run === undefined ? true : undefined;
  }, deletedWithinMilliseconds);
}
