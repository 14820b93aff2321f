// Orders that wait for a saga's run which is gone: terminated, timed out, its history deleted, or never started. Mended
// by another run, whose steps find what the first one did.
import { sql } from 'kysely';
import { refundOrderId, orderSagaId, type OrderSagaInput, type SagaLimits } from '../domain/saga-contract.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { OrderCommands } from '../orders/order-commands.ts';
import type { Db } from '../platform/database.ts';
import type { SagaClient, SagaStartRequest } from '../sagas/saga-client.ts';
import { orderSagaStart, refundOrderStart } from '../sagas/order-saga-routes.ts';
import type { SagaRun, SagaRuns } from '../sagas/saga-runs.ts';
import type { SagaStarts } from '../sagas/saga-starts.ts';
import { beforeAllIds, inPages, type Comparison, type Difference, type Mended, type Scope } from './difference.ts';
import { readOrder, type OrderFacts } from './order-facts.ts';

export type SagaComparisonDeps = Readonly<{
  db: Db;
  store: EventStore;
  runs: SagaRuns;
  client: SagaClient;
  starts: SagaStarts;
  orders: Pick<OrderCommands, 'cancel'>;
  limits: SagaLimits;
}>;

/** A saga that has been lost so often has something wrong that another run does not mend. */
const mostRepairs = 5;
/** Of the half minute that a claim lasts, the part in which Temporal may still be called. */
const callWithinMilliseconds = 15_000;

type Saga = Readonly<{
  kind: 'saga-gone' | 'refund-gone';
  workflowIdOf: (orderId: string) => string;
  startedBy: 'order.submitted' | 'order.cancellation_requested';
  /** The part of the orders that has such a saga under way; by the row, so only a suspicion. */
  rows: 'submitted' | 'to-refund';
  waits: (order: OrderFacts) => boolean;
}>;

const sagas: readonly Saga[] = [
  {
    kind: 'saga-gone',
    workflowIdOf: orderSagaId,
    startedBy: 'order.submitted',
    rows: 'submitted',
    waits: ({ state }) => state.status === 'submitted',
  },
  {
    kind: 'refund-gone',
    workflowIdOf: refundOrderId,
    startedBy: 'order.cancellation_requested',
    rows: 'to-refund',
    waits: ({ state }) => state.status === 'confirmed' && state.cancellation !== undefined,
  },
];

export const compareSagas = (deps: SagaComparisonDeps): Comparison =>
  async function* find(scope) {
    for (const saga of sagas) yield* compareKind(deps, saga, scope);
  };

type OrderRow = Readonly<{ key: string; tenantId: string; repairs: number }>;

async function* compareKind(deps: SagaComparisonDeps, saga: Saga, scope: Scope): AsyncGenerator<Difference> {
  const pages = inPages(
    scope,
    beforeAllIds,
    async (after, limit) => await readRows(deps.db, saga, scope, after, limit),
  );
  for await (const page of pages) {
    const running = await deps.runs.runningAmong(page.map(({ key }) => saga.workflowIdOf(key)));
    for (const row of page.filter(({ key }) => !running.has(saga.workflowIdOf(key)))) {
      const workflowId = saga.workflowIdOf(row.key);
      const run = await deps.runs.look(workflowId);
      if (!isGone(run, scope)) continue;
      const order = await readOrder(deps.store, row.key);
      if (order === undefined || !saga.waits(order)) continue;
      const isHopeless = row.repairs >= mostRepairs;
      yield {
        kind: saga.kind,
        ids: { order: row.key, workflow: workflowId, tenant: row.tenantId },
        is: `the order is ${order.state.status} and its run ${run.state === 'closed' ? `is ${run.status}` : 'is not there'}${isHopeless ? ` after ${row.repairs} repairs` : ''}`,
        right: saga.kind === 'saga-gone' ? 'another run brings the order to its end' : 'another run refunds the order',
        ...(isHopeless ? {} : { mend: async () => await startAgain(deps, saga, row, scope) }),
      };
    }
  }
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

/** One that was ended just now may have a step's attempt under way, which ends within its ten seconds. */
function isGone(run: SagaRun, { graceSeconds }: Scope): boolean {
  if (run.state !== 'closed') return run.state === 'none';
  return run.closedAt === undefined || Date.now() - run.closedAt.getTime() >= graceSeconds * 1000;
}

/**
 * Ended before the start: the claim runs out and the next one tries again. After it: the run lives, and nothing is left
 * to mend. Two at once: one has the claim; and a run too many would find everything done, and change nothing.
 */
async function startAgain(deps: SagaComparisonDeps, saga: Saga, row: OrderRow, scope: Scope): Promise<Mended> {
  const { runs, client, starts, store } = deps;
  const workflowId = saga.workflowIdOf(row.key);
  const began = performance.now();
  const before = await readOrder(store, row.key);
  if (before?.submitted === undefined || !saga.waits(before)) return 'over';
  const cause = (saga.kind === 'saga-gone' ? before.submitted : before.cancellation)?.eventId ?? '';
  if (!(await starts.claimRepair(workflowId, row.key, cause))) return 'left';
  const run = await runs.look(workflowId);
  if (!isGone(run, scope)) return 'over';
  if (saga.kind === 'saga-gone') await recordCancellation(deps, workflowId, row, before, run);
  const order = await readOrder(store, row.key);
  if (order === undefined || !saga.waits(order)) return 'over';
  const request = requestOf(deps, saga, order);
  if (request === undefined || performance.now() - began > callWithinMilliseconds) return 'left';
  await starts.markRepaired(workflowId, await client.start(request));
  return 'mended';
}

/** Asked for in Temporal, it is in no stream yet, and the new run would not know of it: the stream decides from now on. */
async function recordCancellation(
  { runs, orders }: SagaComparisonDeps,
  workflowId: string,
  row: OrderRow,
  { state }: OrderFacts,
  run: SagaRun,
): Promise<void> {
  if (state.cancellation !== undefined || run.state !== 'closed') return;
  if (!(await runs.wasCancelRequested(workflowId, run.runId))) return;
  await orders.cancel(row.key, 'cancelled in Temporal', 'operator', { tenantId: row.tenantId, userId: 'reconcile' });
}

function requestOf({ limits }: SagaComparisonDeps, saga: Saga, order: OrderFacts): SagaStartRequest | undefined {
  const { submitted, cancellation, state } = order;
  if (saga.kind === 'refund-gone') {
    return cancellation && { ...refundOrderStart(cancellation, state.customerId, limits), isRepair: true };
  }
  if (submitted === undefined) return undefined;
  const request = orderSagaStart(submitted, limits);
  const repair: OrderSagaInput['repair'] = {
    cancellation: cancellation && { eventId: cancellation.eventId, ...cancellation.payload },
  };
  return {
    ...request,
    input: { ...(request.input as OrderSagaInput), repair },
    summary: `Repair: ${request.summary}`,
    isRepair: true,
  };
}
