// Money that is held, or may still come, for an order that has ended without it; and what the gateway did that our log
// does not say.
import { sql } from 'kysely';
import type { CatalogueEvent, EventOf } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import { derivedId } from '../domain/ids.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { RunUnitOfWork } from '../event-store/unit-of-work.ts';
import type { Payment, PaymentGateway } from '../payments/payment-gateway.ts';
import type { Db } from '../platform/database.ts';
import {
  beforeAllIds,
  inPages,
  reconcileContext,
  type Comparison,
  type Difference,
  type Mended,
  type Scope,
} from './difference.ts';
import { holdsNothing, readOrder, type OrderFacts } from './order-facts.ts';

export type PaymentComparisonDeps = Readonly<{
  db: Db;
  store: EventStore;
  unitOfWork: RunUnitOfWork;
  gateway: PaymentGateway;
}>;

type PaymentRow = Readonly<{ key: string; tenantId: string; orderId: string }>;
type Closing = 'payment.refunded' | 'payment.voided';
const reason = 'found by reconcile: the order has ended without this payment';

export const comparePayments = (deps: PaymentComparisonDeps): Comparison =>
  async function* find(scope) {
    const pages = inPages(scope, beforeAllIds, async (after, limit) => await readRows(deps.db, scope, after, limit));
    for await (const page of pages) {
      for (const row of page) {
        const payment = await deps.gateway.get(row.key);
        const order = await readOrder(deps.store, row.orderId);
        const difference = payment && (await differenceOf(deps, payment, order));
        if (difference !== undefined) yield difference;
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
  const inStream = (eventType: Closing) => sql`
    from events where events.aggregate_id = payments.payment_id::text and events.event_type = ${eventType}`;
  const isTold = sql`refunded <= (
    select coalesce(sum((events.payload ->> 'amount')::bigint), 0) ${inStream('payment.refunded')})`;
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
            or payments.status = 'voided' and not exists (select ${inStream('payment.voided')})
            or payments.status = 'refunded' and not ${isTold}
          else orders.status = 'confirmed' and payments.payment_id <> orders.payment_id
            and (payments.status = 'pending' or payments.status = 'charged' and refunded < amount) end
    order by payments.payment_id
    limit ${limit}`.execute(db);
  return rows;
}

async function differenceOf(
  deps: PaymentComparisonDeps,
  payment: Payment,
  order: OrderFacts | undefined,
): Promise<Difference | undefined> {
  const { paymentId, orderId, tenantId, status, currency } = payment;
  const ids = { payment: paymentId, order: orderId, tenant: tenantId };
  const held = `${payment.amount - payment.refunded} ${currency} (minor units)`;
  const orderIs = `the order is ${order?.state.status ?? 'not there'}`;
  const isOver = holdsNothing(order);
  const isOther = order?.state.status === 'confirmed' && order.state.paymentId !== paymentId;
  if (!isOver && !isOther) return undefined;
  const mend = async (): Promise<Mended> => await close(deps, paymentId, orderId);
  if (status === 'pending') {
    const is = `the payment may still be captured, ${orderIs}${isOther ? ' by another one' : ''}`;
    return { kind: 'payment-open', ids, is, right: 'cancelled for good', mend };
  }
  if (status === 'charged' && payment.refunded < payment.amount) {
    if (isOther) {
      const is = `${held} are held, ${orderIs} by another payment`;
      return { kind: 'charge-doubled', ids, is, right: 'a person decides which payment is refunded' };
    }
    return { kind: 'charge-held', ids, is: `${held} are held, ${orderIs}`, right: 'refunded', mend };
  }
  const missing = isOver && (await missingEvent(deps, payment));
  if (missing === false || missing === undefined) return undefined;
  const is = `the gateway says ${status} and the log does not, ${orderIs}`;
  return { kind: 'payment-event-missing', ids, is, right: `${missing} is in the payment's stream`, mend };
}

async function missingEvent({ store }: PaymentComparisonDeps, payment: Payment): Promise<Closing | undefined> {
  const type = closingOf(payment);
  if (type === undefined) return undefined;
  const events = await store.getEvents(payment.paymentId);
  return isToldBy(events, payment, type) ? undefined : type;
}

const isToldBy = (stored: readonly StoredEvent[], { refunded }: Payment, type: Closing): boolean =>
  type === 'payment.refunded' ? refundedIn(stored) >= refunded : stored.some(({ eventType }) => eventType === type);

/** Minor units: refunds come in parts. */
const refundedIn = (events: readonly StoredEvent[]): number =>
  (events as readonly StoredEvent<CatalogueEvent>[]).reduce(
    (sum, event) => (event.eventType === 'payment.refunded' ? sum + event.payload.amount : sum),
    0,
  );

const closingOf = ({ status }: Payment): Closing | undefined =>
  status === 'voided' ? 'payment.voided' : status === 'refunded' ? 'payment.refunded' : undefined;

/**
 * At the gateway first, under a key of the payment, then in the log. Ended in between, the next one finds the event
 * missing and writes it. Only after a look at the stream: an order never comes back from its end.
 */
async function close(deps: PaymentComparisonDeps, paymentId: string, orderId: string): Promise<Mended> {
  const { gateway, store } = deps;
  const order = await readOrder(store, orderId);
  const isOther = order?.state.status === 'confirmed' && order.state.paymentId !== paymentId;
  if (!holdsNothing(order) && !isOther) return 'over';
  let payment = await gateway.cancel(paymentId);
  // Captured after all, beside the order's own payment: that is a person's to decide.
  if (payment.status === 'charged' && isOther) return 'left';
  if (payment.status === 'charged') {
    const key = `reconcile:${paymentId}:${payment.refunded}`;
    payment = (await gateway.refund(paymentId, { key, amount: 'all-held' })).payment;
  }
  await record(deps, payment);
  return 'mended';
}

/** What the stream does not say yet, whoever comes to say so: the saga's step may be repeated at the same time. */
async function record({ store, unitOfWork }: PaymentComparisonDeps, payment: Payment): Promise<void> {
  await unitOfWork(async (unit) => {
    const stored = await store.getEvents(payment.paymentId, { tx: unit.tx });
    const event = untold(payment, stored);
    if (event !== undefined) await unit.append(event, stored.length);
  });
}

function untold(payment: Payment, stored: readonly StoredEvent[]): EventOf<Closing> | undefined {
  const { paymentId, orderId, tenantId } = payment;
  const eventType = closingOf(payment);
  const amount = payment.refunded - refundedIn(stored);
  if (eventType === undefined || isToldBy(stored, payment, eventType)) return undefined;
  const context = reconcileContext(tenantId);
  return {
    // One for each state of the stream, so that two who find the same say it once.
    eventId: derivedId('event', 'reconcile', eventType, paymentId, String(stored.length)),
    eventType,
    occurredAt: context.now(),
    aggregateId: paymentId,
    aggregateType: 'payment',
    payload: { paymentId, orderId, reason, ...(eventType === 'payment.refunded' ? { amount } : {}) },
    metadata: context.metadata,
  } as EventOf<Closing>;
}
