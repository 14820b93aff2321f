// Orders that wait for a saga's run which is gone: the order's own, or the refund of a confirmed one that is cancelled.
import { sql } from 'kysely';
import { refundOrderId, orderSagaId, type OrderSagaInput, type SagaLimits } from '../domain/saga-contract.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { OrderCommands } from '../orders/order-commands.ts';
import type { Db } from '../platform/database.ts';
import type { SagaStartRequest } from '../sagas/saga-client.ts';
import { orderSagaStart, refundOrderStart } from '../sagas/order-saga-routes.ts';
import type { SagaRun } from '../sagas/saga-runs.ts';
import { beforeAllIds, inPages, type Comparison, type Scope } from './difference.ts';
import { findLost, type LostRunDeps, type Wanted, type WantedRun } from './lost-run.ts';
import { readOrder, type OrderFacts } from './order-facts.ts';

export type SagaComparisonDeps = LostRunDeps &
  Readonly<{
    db: Db;
    store: EventStore;
    orders: Pick<OrderCommands, 'cancel'>;
    limits: SagaLimits;
  }>;

type Saga = Readonly<{
  kind: 'saga-gone' | 'refund-gone';
  workflowIdOf: (orderId: string) => string;
  startedBy: 'order.submitted' | 'order.cancellation_requested';
  /** The part of the orders that has such a saga under way; by the row, so only a suspicion. */
  rows: 'submitted' | 'to-refund';
  right: string;
  waits: (order: OrderFacts) => boolean;
  startOf: (order: OrderFacts, limits: SagaLimits) => Pick<Wanted, 'eventId' | 'request'> | undefined;
}>;

const sagas: readonly Saga[] = [
  {
    kind: 'saga-gone',
    workflowIdOf: orderSagaId,
    startedBy: 'order.submitted',
    rows: 'submitted',
    right: 'another run brings the order to its end',
    waits: ({ state }) => state.status === 'submitted',
    startOf: repairStart,
  },
  {
    kind: 'refund-gone',
    workflowIdOf: refundOrderId,
    startedBy: 'order.cancellation_requested',
    rows: 'to-refund',
    right: 'another run refunds the order',
    waits: ({ state }) => state.status === 'confirmed' && state.cancellation !== undefined,
    startOf: ({ cancellation, state }, limits) =>
      cancellation && {
        eventId: cancellation.eventId,
        request: refundOrderStart(cancellation, state.customerId, limits),
      },
  },
];

export const compareSagas = (deps: SagaComparisonDeps): Comparison =>
  async function* find(scope) {
    for (const saga of sagas) yield* findLost(deps, readWanted(deps, saga, scope), scope);
  };

type OrderRow = Readonly<{ key: string; tenantId: string; repairs: number }>;

async function* readWanted(deps: SagaComparisonDeps, saga: Saga, scope: Scope): AsyncGenerator<readonly WantedRun[]> {
  const pages = inPages(
    scope,
    beforeAllIds,
    async (after, limit) => await readRows(deps.db, saga, scope, after, limit),
  );
  for await (const page of pages) yield page.map((row) => wantedBy(deps, saga, row));
}

/** A start that is not delivered yet, or is a dead letter, is the relay's: it would start the first run. */
async function readRows(
  db: Db,
  saga: Saga,
  { graceSeconds }: Scope,
  after: string,
  limit: number,
): Promise<readonly OrderRow[]> {
  const isSuspicious =
    saga.rows === 'submitted'
      ? sql`orders.status = 'submitted'`
      : sql`orders.status = 'confirmed' and orders.cancellation_requested`;
  const { rows } = await sql<OrderRow>`
    select orders.order_id as key, orders.tenant_id as "tenantId", coalesce(saga_starts.repairs, 0) as repairs
    from orders
      left join saga_starts on saga_starts.workflow_id = ${saga.workflowIdOf('')} || orders.order_id
    where ${isSuspicious} and orders.order_id > ${after}::uuid
      and orders.updated_at < now() - make_interval(secs => ${graceSeconds})
      and not exists (
        select from outbox
        where outbox.aggregate_id = orders.order_id::text and outbox.destination = 'temporal'
          and outbox.event_type = ${saga.startedBy} and not outbox.published)
    order by orders.order_id
    limit ${limit}`.execute(db);
  return rows;
}

function wantedBy(deps: SagaComparisonDeps, saga: Saga, row: OrderRow): WantedRun {
  const { key: orderId, tenantId, repairs } = row;
  const workflowId = saga.workflowIdOf(orderId);
  return {
    kind: saga.kind,
    workflowId,
    aggregateId: orderId,
    ids: { order: orderId, workflow: workflowId, tenant: tenantId },
    repairs,
    async look() {
      const order = await readOrder(deps.store, orderId);
      if (order === undefined || !saga.waits(order)) return undefined;
      const start = saga.startOf(order, deps.limits);
      return start && { is: `the order is ${order.state.status}`, right: saga.right, ...start };
    },
    async prepare(run) {
      if (saga.kind === 'saga-gone') await recordCancellation(deps, workflowId, row, run);
    },
  };
}

/** Asked for in Temporal, it is in no stream yet, and the new run would not know of it: the stream decides from now on. */
async function recordCancellation(
  { runs, orders, store }: SagaComparisonDeps,
  workflowId: string,
  { key: orderId, tenantId }: OrderRow,
  run: SagaRun,
): Promise<void> {
  const order = await readOrder(store, orderId);
  if (order?.state.status !== 'submitted' || order.state.cancellation !== undefined || run.state !== 'closed') return;
  if (!(await runs.wasCancelRequested(workflowId, run.runId))) return;
  await orders.cancel(orderId, 'cancelled in Temporal', 'operator', { tenantId, userId: 'reconcile' });
}

function repairStart({ submitted, cancellation }: OrderFacts, limits: SagaLimits): ReturnType<Saga['startOf']> {
  if (submitted === undefined) return undefined;
  const start: SagaStartRequest = orderSagaStart(submitted, limits);
  const repair: OrderSagaInput['repair'] = {
    cancellation: cancellation && { eventId: cancellation.eventId, ...cancellation.payload },
  };
  const input = { ...(start.input as OrderSagaInput), repair };
  return { eventId: submitted.eventId, request: { ...start, input, summary: `Repair: ${start.summary}` } };
}
