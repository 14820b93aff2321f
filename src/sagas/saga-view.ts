// How far an order's saga is: from our own rows, with the attempts under way from Temporal when it answers in time.
import type { Client } from '@temporalio/client';
import type { OrderStatus } from '../domain/order-state.ts';
import {
  orderSagaId,
  orderSagaPlan,
  orderSagaSteps,
  refundOrderId,
  refundOrderSteps,
  refundPaymentPlan,
} from '../domain/saga-contract.ts';
import { resolutionActions, type ResolutionAction } from '../domain/saga-resolution.ts';
import type { SagaStatus, StepState } from '../domain/saga-status.ts';
import type { Db } from '../platform/database.ts';
import { withDeadline } from '../platform/temporal-client.ts';
import { refundRunsOf } from './refund-runs.ts';
import { createSagaStarts, type SagaStart } from './saga-starts.ts';

export type StepView = Readonly<{
  name: string;
  state: StepState;
  attempts: number;
  error?: string;
  /** Of a step that is parked: what POST …/saga/resolve takes. */
  actions?: readonly ResolutionAction[];
  /** Of one that an operator has ended: how, who, and the reference. */
  resolution?: string;
}>;

export type RunView = Readonly<{
  workflowId: string;
  /** Null until Temporal has taken the start. */
  runId: string | null;
  status: SagaStatus;
  steps: readonly StepView[];
  webUrl: string;
}>;
/**
 * `refund`: the saga of a confirmed order that is cancelled, where there is one. `refunds`: those of its payments, in part
 * or of money that came after its end.
 */
export type SagaView = RunView & Readonly<{ refund?: RunView; refunds?: readonly RunView[] }>;

export type SagaLink = Readonly<{ workflowId: string; webUrl: string }>;

export type SagaViews = Readonly<{
  /** Undefined where the tenant has no such order, or it was never submitted. */
  find(tenantId: string, orderId: string): Promise<SagaView | undefined>;
  linkOf(orderId: string): SagaLink;
  /** Of one that is no order's. `ended`: as what, where its end is on record. */
  ofRun(
    workflowId: string,
    of: Readonly<{ names: readonly string[]; ended: SagaStatus | undefined }>,
  ): Promise<RunView>;
  /** Of a saga that is not the order's own. */
  linkToRun(workflowId: string): SagaLink;
}>;

/** The page must not wait for Temporal: our rows are the answer, live attempts an extra. */
const liveMilliseconds = 1_000;
const stepOfActivity: Readonly<Record<string, string>> = {
  reserveInventory: 'reserve',
  chargePayment: 'charge',
  settlePayment: 'charge',
  confirmOrder: 'confirm',
  endOrder: 'end',
  refundOrderPayment: 'refund',
  refundPaymentPart: 'refund',
  restockOrder: 'restock',
  cancelRefundedOrder: 'cancel',
  remindOfVerification: 'remind',
  expireVerification: 'expire',
};

type Row = Readonly<{
  step: string;
  state: StepState;
  attempts: number;
  error: string | null;
  by_hand: boolean;
  resolution: string | null;
}>;

export function createSagaViews(
  deps: Readonly<{ db: Db; client: Client; uiUrl: string; namespace: string }>,
): SagaViews {
  const { db, client, uiUrl, namespace } = deps;
  const urlOf = (workflowId: string, runId?: string | null): string => {
    const run = `${uiUrl.replace(/\/$/, '')}/namespaces/${encodeURIComponent(namespace)}/workflows/${workflowId}`;
    return runId === undefined || runId === null ? run : `${run}/${runId}/history`;
  };

  const linkToRun = (workflowId: string): SagaLink => ({ workflowId, webUrl: urlOf(workflowId) });

  async function liveAttempts(workflowId: string): Promise<ReadonlyMap<string, number>> {
    try {
      const description = await withDeadline(
        client,
        liveMilliseconds,
        async () => await client.workflow.getHandle(workflowId).describe(),
      );
      const pending = description.raw.pendingActivities ?? [];
      return new Map(
        pending.map(({ activityType, attempt }) => [stepOfActivity[activityType?.name ?? ''] ?? '', attempt ?? 0]),
      );
    } catch {
      return new Map();
    }
  }

  const startOf = createSagaStarts(db).find;
  const rowsOf = async (workflowId: string): Promise<readonly Row[]> =>
    await db.selectFrom('saga_steps').selectAll().where('workflow_id', '=', workflowId).execute();

  /** @param given what is known of the run by now */
  async function runView(
    workflowId: string,
    given: Readonly<{
      start: SagaStart | undefined;
      rows: readonly Row[];
      names: readonly string[];
      status: SagaStatus;
      isOpen: boolean;
    }>,
  ): Promise<RunView> {
    const { start, rows, names, status } = given;
    const isOpen = given.isOpen && start?.state === 'started';
    const live = isOpen ? await liveAttempts(workflowId) : new Map<string, number>();
    // The step that writes the end is of interest only where it does not get through.
    const shown = rows.filter(({ step, state }) => step === orderSagaPlan.ending && state === 'parked');
    return {
      workflowId,
      runId: start?.runId ?? null,
      status,
      steps: [...names, ...shown.map(({ step }) => step)].map((name) =>
        stepView(
          name,
          rows.find(({ step }) => step === name),
          live.get(name) ?? 0,
        ),
      ),
      webUrl: urlOf(workflowId, start?.runId),
    };
  }

  async function refundView(orderId: string, order: OrderStatus): Promise<RunView | undefined> {
    const workflowId = refundOrderId(orderId);
    const [start, rows] = await Promise.all([startOf(workflowId), rowsOf(workflowId)]);
    if (start === undefined) return undefined;
    // Also of an order that was cancelled before it: money was found to be held, and this brings it back.
    const isOpen = order !== 'cancelled' || !rows.some(({ step, state }) => step === 'cancel' && state === 'done');
    const status = isOpen ? openStatusOf(rows) : 'Cancelled';
    return await runView(workflowId, { start, rows, names: refundOrderSteps, status, isOpen });
  }

  async function refundOfPart(workflowId: string): Promise<RunView> {
    const [start, rows] = await Promise.all([startOf(workflowId), rowsOf(workflowId)]);
    const { pivot, retriable } = refundPaymentPlan;
    const names = [pivot, ...retriable.filter((name) => rows.some(({ step }) => step === name))];
    const states = rows.map(({ state }) => state);
    const isOpen = !states.includes('refused') && (states.length === 0 || states.some((state) => state !== 'done'));
    const status = isOpen ? openStatusOf(rows) : states.includes('refused') ? 'Failed' : 'Confirmed';
    return await runView(workflowId, { start, rows, names, status, isOpen });
  }

  return {
    linkOf: (orderId) => linkToRun(orderSagaId(orderId)),
    linkToRun,
    async ofRun(workflowId, { names, ended }) {
      const [start, rows] = await Promise.all([startOf(workflowId), rowsOf(workflowId)]);
      // A step that was skipped leaves nothing to undo.
      const open = rows.some(({ state }) => state === 'parked') ? 'NeedsAttention' : 'Running';
      return await runView(workflowId, { start, rows, names, status: ended ?? open, isOpen: ended === undefined });
    },
    async find(tenantId, orderId) {
      const workflowId = orderSagaId(orderId);
      const [order, start, rows] = await Promise.all([
        db
          .selectFrom('orders')
          .select('status')
          .where('tenant_id', '=', tenantId)
          .where('order_id', '=', orderId)
          .executeTakeFirst(),
        startOf(workflowId),
        rowsOf(workflowId),
      ]);
      // A draft that was cancelled has no saga either, and a submitted order has one before it is started.
      if (order === undefined || order.status === 'draft') return undefined;
      if (order.status === 'cancelled' && start === undefined && !(await wasSubmitted(db, orderId))) return undefined;
      const status = statusOf(order.status, rows);
      const isOpen = order.status === 'submitted';
      const [view, refund, refunds] = await Promise.all([
        runView(workflowId, { start, rows, names: orderSagaSteps, status, isOpen }),
        isOpen ? undefined : refundView(orderId, order.status),
        refundRunsOf(db, orderId).then(async (runs) => await Promise.all(runs.map(refundOfPart))),
      ]);
      return {
        ...view,
        ...(refund === undefined ? {} : { refund }),
        ...(refunds.length === 0 ? {} : { refunds }),
      };
    },
  };
}

function stepView(name: string, row: Row | undefined, live: number): StepView {
  if (row === undefined) return { name, state: 'pending', attempts: live };
  const { state, error, resolution } = row;
  return {
    name,
    state,
    attempts: Math.max(row.attempts, live),
    ...(error === null ? {} : { error }),
    ...(state === 'parked' ? { actions: row.by_hand ? resolutionActions : ['retry'] } : {}),
    ...(resolution === null ? {} : { resolution }),
  };
}

async function wasSubmitted(db: Db, orderId: string): Promise<boolean> {
  const event = await db
    .selectFrom('events')
    .select('id')
    .where('aggregate_id', '=', orderId)
    .where('event_type', '=', 'order.submitted')
    .executeTakeFirst();
  return event !== undefined;
}

function statusOf(order: OrderStatus, steps: readonly Row[]): SagaStatus {
  switch (order) {
    case 'confirmed':
      return 'Confirmed';
    case 'failed':
      return 'Failed';
    case 'cancelled':
      return 'Cancelled';
    case 'draft':
    case 'submitted':
      return openStatusOf(steps);
  }
}

function openStatusOf(steps: readonly Row[]): SagaStatus {
  if (steps.some(({ state }) => state === 'parked')) return 'NeedsAttention';
  return steps.some(({ state }) => state === 'undone' || state === 'refused') ? 'Compensating' : 'Running';
}
