// How far an order's saga is: from our own rows, with the attempts under way from Temporal when it answers in time.
import type { Client } from '@temporalio/client';
import type { OrderStatus } from '../domain/order-state.ts';
import { orderSagaId, orderSagaSteps, type OrderSagaStep } from '../domain/saga-contract.ts';
import type { SagaStatus, StepState } from '../domain/saga-status.ts';
import type { Db } from '../platform/database.ts';
import { withDeadline } from '../platform/temporal-client.ts';

export type SagaView = Readonly<{
  workflowId: string;
  /** Null until Temporal has taken the start. */
  runId: string | null;
  status: SagaStatus;
  steps: readonly Readonly<{ name: string; state: StepState; attempts: number; error?: string }>[];
  webUrl: string;
}>;

export type SagaLink = Readonly<{ workflowId: string; webUrl: string }>;

export type SagaViews = Readonly<{
  /** Undefined where the tenant has no such order, or it was never submitted. */
  find(tenantId: string, orderId: string): Promise<SagaView | undefined>;
  linkOf(orderId: string): SagaLink;
  /** Of a saga that is not the order's own. */
  linkToRun(workflowId: string): SagaLink;
}>;

/** The page must not wait for Temporal: our rows are the answer, live attempts an extra. */
const liveMilliseconds = 1_000;
const stepOfActivity: Readonly<Record<string, OrderSagaStep>> = {
  reserveInventory: 'reserve',
  chargePayment: 'charge',
  settlePayment: 'charge',
  confirmOrder: 'confirm',
};

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

  return {
    linkOf: (orderId) => linkToRun(orderSagaId(orderId)),
    linkToRun,
    async find(tenantId, orderId) {
      const workflowId = orderSagaId(orderId);
      const [order, start, rows] = await Promise.all([
        db
          .selectFrom('orders')
          .select('status')
          .where('tenant_id', '=', tenantId)
          .where('order_id', '=', orderId)
          .executeTakeFirst(),
        db
          .selectFrom('saga_starts')
          .select(['run_id', 'state'])
          .where('workflow_id', '=', workflowId)
          .executeTakeFirst(),
        db.selectFrom('saga_steps').selectAll().where('workflow_id', '=', workflowId).execute(),
      ]);
      // A draft that was cancelled has no saga either, and a submitted order has one before it is started.
      if (order === undefined || order.status === 'draft') return undefined;
      if (order.status === 'cancelled' && start === undefined && !(await wasSubmitted(db, orderId))) return undefined;
      const steps = new Map(rows.map((row) => [row.step, row]));
      const isOpen = order.status === 'submitted' && start?.state === 'started';
      const live = isOpen ? await liveAttempts(workflowId) : new Map<string, number>();
      return {
        workflowId,
        runId: start?.run_id ?? null,
        status: statusOf(order.status, [...steps.values()]),
        steps: orderSagaSteps.map((name) => {
          const row = steps.get(name);
          const attempts = Math.max(row?.attempts ?? 0, live.get(name) ?? 0);
          const error = row?.error ?? undefined;
          return { name, state: row?.state ?? 'pending', attempts, ...(error === undefined ? {} : { error }) };
        }),
        webUrl: urlOf(workflowId, start?.run_id),
      };
    },
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

function statusOf(order: OrderStatus, steps: readonly Readonly<{ state: StepState }>[]): SagaStatus {
  switch (order) {
    case 'confirmed':
      return 'Confirmed';
    case 'failed':
      return 'Failed';
    case 'cancelled':
      return 'Cancelled';
    case 'draft':
    case 'submitted':
      if (steps.some(({ state }) => state === 'parked')) return 'NeedsAttention';
      return steps.some(({ state }) => state === 'undone' || state === 'refused') ? 'Compensating' : 'Running';
  }
}
