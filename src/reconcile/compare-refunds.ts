// Refunds of one payment that have no end and no run: somebody has asked for them, or the money was not wanted any more.
import { sql, type RawBuilder } from 'kysely';
import type { CatalogueEvent, EventOf } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import { refundPaymentId, refundPaymentPrefix, type SagaLimits } from '../domain/saga-contract.ts';
import type { EventStore } from '../event-store/event-store.ts';
import { heldBy, type PaymentGateway } from '../payments/payment-gateway.ts';
import type { Db } from '../platform/database.ts';
import { requestedRefundStart, unwantedRefund, unwantedRefundStart } from '../sagas/refund-routes.ts';
import { beforeAllIds, inPages, type Comparison, type Scope } from './difference.ts';
import { findLost, type LostRunDeps, type Wanted, type WantedRun } from './lost-run.ts';
import { factsOf } from './order-facts.ts';
import { outcomeOf, refundedIn, refundedInStream } from './refund-facts.ts';
import { readStartEvents, type StartEvent } from './start-events.ts';

export type RefundComparisonDeps = LostRunDeps &
  Readonly<{ db: Db; store: EventStore; gateway: PaymentGateway; limits: SagaLimits }>;

export const compareRefunds = (deps: RefundComparisonDeps): Comparison =>
  async function* find(scope) {
    yield* findLost(deps, readRequested(deps, scope), scope);
    yield* findLost(deps, readUnwanted(deps, scope), scope);
  };

const right = 'another run brings the refund to its end';

/** `refundPaymentId` in SQL. */
const idInSql = (paymentId: RawBuilder<string>, refundId: RawBuilder<string>): RawBuilder<string> =>
  sql<string>`(${sql.lit(refundPaymentPrefix)} || ${paymentId} || '-' || ${refundId})`;
const payload = (field: 'paymentId' | 'refundId'): RawBuilder<string> =>
  sql<string>`(started.payload ->> ${sql.lit(field)})`;
const requestedId = idInSql(payload('paymentId'), payload('refundId'));

const isOpen = sql<boolean>`not exists (
    select from events failed
    where failed.aggregate_id = started.payload ->> 'paymentId' and failed.event_type = 'payment.refund_failed'
      and failed.payload ->> 'refundId' = started.payload ->> 'refundId')
  and (
    not exists (
      select from events refunded
      where refunded.aggregate_id = started.payload ->> 'paymentId' and refunded.event_type = 'payment.refunded'
        and refunded.metadata ->> 'sagaId' = ${requestedId})
    or started.payload ->> 'restock' = 'true' and exists (
      select from reservations
      where reservations.order_id = started.aggregate_id::uuid and reservations.state = 'consumed'
        and reservations.settled_by_hand is null))`;

async function* readRequested(deps: RefundComparisonDeps, scope: Scope): AsyncGenerator<readonly WantedRun[]> {
  const pages = readStartEvents(
    deps.db,
    {
      eventType: 'order.refund_requested',
      workflowId: requestedId,
      isOpen,
      takesSeconds: 0,
    },
    scope,
  );
  for await (const page of pages) yield page.map((row) => wantedByRequest(deps, row));
}

const wantedByRequest = (deps: RefundComparisonDeps, row: StartEvent): WantedRun => ({
  kind: 'refund-gone',
  workflowId: row.workflowId,
  aggregateId: row.aggregateId,
  ids: { order: row.aggregateId, workflow: row.workflowId, tenant: row.tenantId },
  repairs: row.repairs,
  look: async () => await lookAtRequest(deps, row),
});

async function lookAtRequest(
  { store, db, limits }: RefundComparisonDeps,
  { aggregateId: orderId, eventId }: StartEvent,
): Promise<Wanted | undefined> {
  const order = await store.getEvents(orderId);
  const request = order.find((event) => event.eventId === eventId) as
    | StoredEvent<EventOf<'order.refund_requested'>>
    | undefined;
  if (request === undefined) return undefined;
  const { paymentId, refundId, amount, restock } = request.payload;
  const outcome = outcomeOf(await store.getEvents(paymentId), paymentId, refundId);
  if (outcome === 'failed') return undefined;
  if (outcome === 'refunded' && !(restock && (await isSold(db, orderId)))) return undefined;
  const is = `a refund of ${amount} (minor units) was asked for and ${outcome === undefined ? 'has no end' : 'its goods are not back'}`;
  return { is, right, eventId, request: requestedRefundStart(request, order, limits) };
}

/** The order's goods are out, and no operator has said otherwise. */
async function isSold(db: Db, orderId: string): Promise<boolean> {
  const row = await db
    .selectFrom('reservations')
    .select('reservation_id')
    .where('order_id', '=', orderId)
    .where('state', '=', 'consumed')
    .where('settled_by_hand', 'is', null)
    .executeTakeFirst();
  return row !== undefined;
}

type PaymentRow = Readonly<{ key: string; orderId: string; tenantId: string; repairs: number }>;

async function* readUnwanted(deps: RefundComparisonDeps, scope: Scope): AsyncGenerator<readonly WantedRun[]> {
  const pages = inPages(scope, beforeAllIds, async (after, limit) => await readPayments(deps.db, scope, after, limit));
  for await (const page of pages) yield page.map((row) => wantedByCallback(deps, row));
}

/** Paid, as a callback said, for an order that has ended without it. Without a callback there was never such a saga. */
async function readPayments(
  db: Db,
  { graceSeconds, sinceHours }: Scope,
  after: string,
  limit: number,
): Promise<readonly PaymentRow[]> {
  const since = sinceHours ?? null;
  const { rows } = await sql<PaymentRow>`
    select payments.payment_id as key, payments.order_id as "orderId", payments.tenant_id as "tenantId",
      coalesce(saga_starts.repairs, 0) as repairs
    from payments join orders using (order_id)
      left join saga_starts on saga_starts.workflow_id = ${idInSql(sql`payments.payment_id`, sql.lit(unwantedRefund))}
    where payments.payment_id > ${after}::uuid
      and (${since}::int is null
        or greatest(payments.updated_at, orders.updated_at) > now() - make_interval(hours => ${since}::int))
      and payments.updated_at < now() - make_interval(secs => ${graceSeconds})
      and orders.updated_at < now() - make_interval(secs => ${graceSeconds})
      and payments.settled_by_hand is null
      and (orders.status in ('failed', 'cancelled')
        or orders.status = 'confirmed' and payments.payment_id <> orders.payment_id)
      and (payments.status = 'charged' and payments.refunded < payments.amount
        or saga_starts.workflow_id is not null and payments.refunded > ${refundedInStream})
      and exists (
        select from events
        where events.aggregate_id = payments.payment_id::text and events.event_type = 'payment.callback_received')
      and not exists (
        select from outbox
        where outbox.aggregate_id = payments.payment_id::text and outbox.destination = 'temporal'
          and not outbox.published)
    order by payments.payment_id
    limit ${limit}`.execute(db);
  return rows;
}

function wantedByCallback(deps: RefundComparisonDeps, row: PaymentRow): WantedRun {
  const workflowId = refundPaymentId(row.key, unwantedRefund);
  return {
    kind: 'refund-gone',
    workflowId,
    aggregateId: row.key,
    ids: { payment: row.key, order: row.orderId, workflow: workflowId, tenant: row.tenantId },
    repairs: row.repairs,
    // It says nothing where nothing was held any more.
    mayEndSilently: true,
    look: async () => await lookAtUnwanted(deps, row),
  };
}

async function lookAtUnwanted(
  { store, gateway, limits }: RefundComparisonDeps,
  { key: paymentId, orderId }: PaymentRow,
): Promise<Wanted | undefined> {
  const stream = await store.getEvents(orderId);
  const state = factsOf(stream)?.state;
  const events = (await store.getEvents(paymentId)) as readonly StoredEvent<CatalogueEvent>[];
  const callback = events.find(({ eventType }) => eventType === 'payment.callback_received') as
    | StoredEvent<EventOf<'payment.callback_received'>>
    | undefined;
  if (state === undefined || callback === undefined || !isWithout(state, paymentId)) return undefined;
  const payment = await gateway.get(paymentId);
  const held = heldBy(payment);
  if (payment === undefined || (held === 0 && payment.refunded <= refundedIn(events))) return undefined;
  return {
    is: `the order is ${state.status} without this payment, of which ${held} (minor units) are held`,
    right,
    eventId: callback.eventId,
    request: unwantedRefundStart(callback, stream, limits, held),
  };
}

/** The order has ended, and this is not the payment that it was confirmed with. */
const isWithout = (
  { status, paymentId: wanted }: Readonly<{ status: string; paymentId: string | undefined }>,
  paymentId: string,
): boolean => status === 'failed' || status === 'cancelled' || (status === 'confirmed' && wanted !== paymentId);
