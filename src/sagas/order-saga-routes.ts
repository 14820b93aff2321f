// What an order's events mean to its sagas: the order saga starts, hears of cancellations and payments, or a refund begins.
import type { EventOf } from '../domain/catalogue.ts';
import { causedBy, type EventMetadata, type StoredEvent } from '../domain/event.ts';
import { Money } from '../domain/money.ts';
import {
  cancellationRequestedSignal,
  orderSagaId,
  orderSagaName,
  paymentCallbackSignal,
  refundOrderId,
  refundOrderName,
  type CancellationRequested,
  type OrderSagaInput,
  type PaymentCallback,
  type RefundOrderInput,
} from '../domain/saga-contract.ts';
import { resolveSignal, type ResolveMessage } from '../domain/saga-resolution.ts';
import { nothing, type SagaAction, type SagaRoute, type SagaRouteDeps } from './saga-route.ts';
import type { SagaStartRequest } from './saga-client.ts';

type Stream = readonly StoredEvent[];
const endsOfOrder: ReadonlySet<string> = new Set(['order.confirmed', 'order.failed', 'order.cancelled']);
const endsOfRefund: ReadonlySet<string> = new Set(['order.cancelled']);

/** Details are for people; a long order's are cut. */
const mostItemLines = 20;

/**
 * Event-carried state transfer: the event holds the saga's whole input, as it was decided. No order is looked up, so a
 * start needs nothing but this event, and is the same however late or often it is delivered.
 */
export const onOrderSubmitted: SagaRoute<'order.submitted'> = (event, { limits }) => {
  const { orderId, customerId, items, total, currency, paymentMethod } = event.payload;
  const metadata = causedBy(event);
  const input: OrderSagaInput = { orderId, customerId, items, total, currency, paymentMethod, limits, metadata };
  const request: SagaStartRequest = {
    workflow: orderSagaName,
    workflowId: orderSagaId(orderId),
    input,
    summary: `Order of ${items.length === 1 ? 'one product' : `${items.length} products`}: ${Money.of(total, currency).toString()} by ${paymentMethod}`,
    details: items
      .slice(0, mostItemLines)
      .map(({ productId, quantity, price }) => itemLine(productId, quantity, Money.of(price, currency)))
      .concat(items.length > mostItemLines ? [`- … and ${items.length - mostItemLines} more`] : [])
      .join('\n'),
    searchAttributes: searchAttributesOf(orderId, customerId, metadata),
  };
  return { kind: 'start', request };
};

/** The order's stream says which came first: before the confirmation the saga cancels, after it the refund does. */
export const onCancellationRequested: SagaRoute<'order.cancellation_requested'> = async (event, deps) => {
  const { orderId, reason, cancelledBy } = event.payload;
  const stream = await deps.store.getEvents(orderId);
  const confirmedFirst = stream.some(
    ({ eventType, version }) => eventType === 'order.confirmed' && version < event.version,
  );
  if (confirmedFirst) {
    const input: RefundOrderInput = { orderId, reason, cancelledBy, limits: deps.limits, metadata: causedBy(event) };
    const request: SagaStartRequest = {
      workflow: refundOrderName,
      workflowId: refundOrderId(orderId),
      input,
      summary: `Refund of order ${orderId}: ${reason}`,
      details: `Asked for by ${cancelledBy}. The order's own saga: ${orderSagaId(orderId)}`,
      searchAttributes: searchAttributesOf(orderId, customerIn(stream), event.metadata),
    };
    return { kind: 'start', request };
  }
  const message: CancellationRequested = { eventId: event.eventId, reason, cancelledBy };
  return signalOf(deps, orderId, cancellationRequestedSignal, message);
};

/**
 * An event notification: it says that there is news, not what is the case. Its outcome goes no further; the saga asks the
 * gateway, whose answer is the truth also where the callback was late, early, or wrong.
 */
export const onPaymentCallback: SagaRoute<'payment.callback_received'> = ({ eventId, payload }, deps) => {
  const message: PaymentCallback = { eventId, paymentId: payload.paymentId };
  return signalOf(deps, payload.orderId, paymentCallbackSignal, message);
};

/** The operator names the run: the order's own saga, or its refund. */
export const onResolutionRequested: SagaRoute<'saga.resolution_requested'> = ({ eventId, payload }, deps) => {
  const { orderId, workflowId, step, action, reference, resolvedBy } = payload;
  const message = { eventId, step, action, reference, resolvedBy };
  return signalOf(deps, orderId, resolveSignal, message, workflowId);
};

/**
 * A saga that has ended took the order's stream, or the ledger, into account, and there is nothing more to say to it.
 * Its end is in the stream before its run closes; a run that is gone without it was terminated or lost: that throws, and
 * ends as a dead letter, for people to see.
 */
function signalOf(
  { store }: SagaRouteDeps,
  orderId: string,
  signal: string,
  message: CancellationRequested | PaymentCallback | (ResolveMessage & Readonly<{ eventId: string }>),
  workflowId = orderSagaId(orderId),
): SagaAction {
  const ends = workflowId === orderSagaId(orderId) ? endsOfOrder : endsOfRefund;
  const whenEnded = async (): Promise<SagaAction> => {
    const stream = await store.getEvents(orderId);
    if (stream.some(({ eventType }) => ends.has(eventType))) return nothing;
    throw new Error(`the run of ${workflowId} is gone (terminated, or lost), and the order has not ended`);
  };
  return { kind: 'signal', workflowId, signal, message, whenEnded };
}

const itemLine = (productId: string, quantity: number, price: Money): string =>
  `- ${quantity} × ${productId} at ${price.toString()}`;

function customerIn(stream: Stream): string {
  const created = stream.find(({ eventType }) => eventType === 'order.created') as StoredEvent<
    EventOf<'order.created'>
  >;
  return created.payload.customerId;
}

const searchAttributesOf = (orderId: string, customerId: string, { tenantId }: EventMetadata) => ({
  OrderId: orderId,
  CustomerId: customerId,
  TenantId: tenantId,
  SagaStatus: 'Running',
  SagaStep: 'start',
});
