// Money that is held, or may still come, for an order that has ended without it; and what the gateway did that our log
// does not say.
import { sql } from 'kysely';
import type { EventOf } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import { derivedId } from '../domain/ids.ts';
import { orderSagaId, refundOrderId, refundPaymentId } from '../domain/saga-contract.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { RunUnitOfWork } from '../event-store/unit-of-work.ts';
import { heldBy, type Payment, type PaymentGateway } from '../payments/payment-gateway.ts';
import type { Db } from '../platform/database.ts';
import { unwantedRefund } from '../sagas/refund-routes.ts';
import type { SagaRuns } from '../sagas/saga-runs.ts';
import {
  beforeAllIds,
  inPages,
  reconcileContext,
  type Comparison,
  type Difference,
  type Mended,
  type Scope,
} from './difference.ts';
import { isGone } from './lost-run.ts';
import { holdsNothing, readOrder, type OrderFacts } from './order-facts.ts';
import { outcomeOf, refundedIn, refundedInStream } from './refund-facts.ts';

export type PaymentComparisonDeps = Readonly<{
  db: Db;
  store: EventStore;
  unitOfWork: RunUnitOfWork;
  gateway: PaymentGateway;
  runs: SagaRuns;
}>;

type PaymentRow = Readonly<{ key: string; tenantId: string; orderId: string }>;
type Closing = 'payment.refunded' | 'payment.voided';
const reason = 'found by reconcile';

export const comparePayments = (deps: PaymentComparisonDeps): Comparison =>
  async function* find(scope) {
    const pages = inPages(scope, beforeAllIds, async (after, limit) => await readRows(deps.db, scope, after, limit));
    for await (const page of pages) {
      for (const row of page) {
        // The payment first: what a run does to it that is not seen below is then not in it.
        const payment = await deps.gateway.get(row.key);
        const order = await readOrder(deps.store, row.orderId);
        if (payment === undefined) continue;
        const difference = await differenceOf(deps, payment, order, async () => await close(deps, row.key, scope));
        if (difference === undefined || (await isUnderWay(deps, payment, order, scope))) continue;
        yield difference;
      }
    }
  };

/** Suspicions by our rows. A charge of a confirmed order is one only where the order names another payment. */
async function readRows(
  db: Db,
  { graceSeconds, sinceHours }: Scope,
  after: string,
  limit: number,
): Promise<readonly PaymentRow[]> {
  const since = sinceHours ?? null;
  const isRecent = sql`(${since}::int is null
    or greatest(payments.updated_at, orders.updated_at) > now() - make_interval(hours => ${since}::int))`;
  const { rows } = await sql<PaymentRow>`
    select payments.payment_id as key, payments.tenant_id as "tenantId", payments.order_id as "orderId"
    from payments left join orders using (order_id)
    where payments.payment_id > ${after}::uuid and ${isRecent}
      -- What an operator has settled by hand has a reference, and is not for us.
      and payments.settled_by_hand is null
      and payments.updated_at < now() - make_interval(secs => ${graceSeconds})
      and coalesce(orders.updated_at < now() - make_interval(secs => ${graceSeconds}), true)
      and case when coalesce(orders.status, 'none') in ('none', 'failed', 'cancelled') then
            payments.status = 'pending' or payments.status = 'charged' and refunded < amount
            or payments.status = 'voided' and not exists (
              select from events
              where events.aggregate_id = payments.payment_id::text and events.event_type = 'payment.voided')
            or payments.refunded > ${refundedInStream}
          else orders.status = 'confirmed' and (
            payments.payment_id <> orders.payment_id
              and (payments.status = 'pending' or payments.status = 'charged' and refunded < amount)
            or payments.refunded > ${refundedInStream}) end
    order by payments.payment_id
    limit ${limit}`.execute(db);
  return rows;
}

async function differenceOf(
  { store }: PaymentComparisonDeps,
  payment: Payment,
  order: OrderFacts | undefined,
  mend: () => Promise<Mended>,
): Promise<Difference | undefined> {
  const { paymentId, orderId, tenantId, status, refunded } = payment;
  if (!holdsNothing(order) && order?.state.status !== 'confirmed') return undefined;
  const ids = { payment: paymentId, order: orderId, tenant: tenantId };
  const held = holdsNothing(order) || isOfAnother(order, paymentId) ? heldFor(payment, order, mend) : undefined;
  if (held !== undefined) return { ...held, ids };
  const missing = untold(payment, await store.getEvents(paymentId), refunded);
  if (missing === undefined) return undefined;
  const is = `the gateway says ${status}, ${refunded} (minor units) refunded, and the log does not, ${stateOf(order)}`;
  return { kind: 'payment-event-missing', ids, is, right: `${missing.eventType} is in the payment's stream`, mend };
}

/** Money that is held, or may still come, for an order that has ended without this payment. */
function heldFor(
  payment: Payment,
  order: OrderFacts | undefined,
  mend: () => Promise<Mended>,
): Omit<Difference, 'ids'> | undefined {
  const isOther = !holdsNothing(order);
  if (payment.status === 'pending') {
    const is = `the payment may still be captured, ${stateOf(order)}${isOther ? ' by another one' : ''}`;
    return { kind: 'payment-open', is, right: 'cancelled for good', mend };
  }
  if (heldBy(payment) === 0) return undefined;
  const is = `${heldBy(payment)} ${payment.currency} (minor units) are held, ${stateOf(order)}`;
  if (!isOther) return { kind: 'charge-held', is, right: 'refunded', mend };
  const right = 'a person decides which payment is refunded';
  return { kind: 'charge-doubled', is: `${is} by another payment`, right };
}

const stateOf = (order: OrderFacts | undefined): string => `the order is ${order?.state.status ?? 'not there'}`;
const isOfAnother = (order: OrderFacts | undefined, paymentId: string): boolean =>
  order?.state.status === 'confirmed' && order.state.paymentId !== paymentId;

/**
 * A run that lives says itself what it has done, and gives back what it is there for. One that is lost is started again
 * (`refund-gone`), and then does: its request has no end yet. What both told would be told twice.
 * @throws UnavailableError where Temporal is away
 */
async function isUnderWay(
  { runs, store }: PaymentComparisonDeps,
  { paymentId, orderId }: Payment,
  order: OrderFacts | undefined,
  scope: Scope,
): Promise<boolean> {
  const isItsOwn = order !== undefined && order.state.paymentId === paymentId;
  const asked = isItsOwn ? order.state.refunds.map(({ refundId }) => refundId) : [];
  const stream = await store.getEvents(paymentId);
  if (asked.some((refundId) => outcomeOf(stream, paymentId, refundId) === undefined)) return true;
  if (isItsOwn && order.state.status === 'confirmed' && order.state.cancellation !== undefined) return true;
  const refunds = [...asked, unwantedRefund].map((refundId) => refundPaymentId(paymentId, refundId));
  for (const workflowId of [orderSagaId(orderId), refundOrderId(orderId), ...refunds]) {
    if (!isGone(await runs.look(workflowId), scope)) return true;
  }
  return false;
}

/**
 * At the gateway first, under a key of the payment, then in the log. Ended in between, the next one finds the event
 * missing and writes it. Only after a look at the stream: an order never comes back from its end. The payment that an
 * order was confirmed with is left as it is, and only what the log does not say of it is written.
 */
async function close(deps: PaymentComparisonDeps, paymentId: string, scope: Scope): Promise<Mended> {
  const { gateway, store } = deps;
  let payment = await gateway.get(paymentId);
  if (payment === undefined) return 'over';
  const order = await readOrder(store, payment.orderId);
  if (!holdsNothing(order) && order?.state.status !== 'confirmed') return 'over';
  if (await isUnderWay(deps, payment, order, scope)) return 'over';
  let told = payment.refunded;
  if (holdsNothing(order) || isOfAnother(order, paymentId)) {
    payment = await gateway.cancel(paymentId);
    if (heldBy(payment) > 0) {
      // Captured after all, beside the order's own payment: that is a person's to decide.
      if (!holdsNothing(order)) return 'left';
      const key = `reconcile:${paymentId}:${payment.refunded}`;
      const refund = await gateway.refund(paymentId, { key, amount: 'all-held' });
      payment = refund.payment;
      told += refund.amount;
    }
  }
  await record(deps, payment, told);
  return 'mended';
}

/** What the stream does not say yet, whoever comes to say so. */
async function record({ store, unitOfWork }: PaymentComparisonDeps, payment: Payment, told: number): Promise<void> {
  await unitOfWork(async (unit) => {
    const stored = await store.getEvents(payment.paymentId, { tx: unit.tx });
    const event = untold(payment, stored, told);
    if (event !== undefined) await unit.append(event, stored.length);
  });
}

/** @param refunded minor units that are ours to tell: a run that has begun since tells of its own */
function untold(payment: Payment, stored: readonly StoredEvent[], refunded: number): EventOf<Closing> | undefined {
  const { paymentId, orderId, tenantId } = payment;
  const amount = Math.min(payment.refunded, refunded) - refundedIn(stored);
  const isVoided = payment.status === 'voided' && !stored.some(({ eventType }) => eventType === 'payment.voided');
  if (amount <= 0 && !isVoided) return undefined;
  const eventType: Closing = isVoided ? 'payment.voided' : 'payment.refunded';
  const context = reconcileContext(tenantId);
  return {
    // One for each state of the stream, so that two who find the same say it once.
    eventId: derivedId('event', 'reconcile', eventType, paymentId, String(stored.length)),
    eventType,
    occurredAt: context.now(),
    aggregateId: paymentId,
    aggregateType: 'payment',
    payload: { paymentId, orderId, reason, ...(isVoided ? {} : { amount }) },
    metadata: context.metadata,
  } as EventOf<Closing>;
}
