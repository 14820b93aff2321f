// What an order's events mean to its sagas: the order saga starts, hears of cancellations and payments, or a refund begins.
import type { EventOf } from '../domain/catalogue.ts';
import { causedBy, type StoredEvent } from '../domain/event.ts';
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
  type SagaLimits,
} from '../domain/saga-contract.ts';
import { resolveSignal, type ResolveMessage } from '../domain/saga-resolution.ts';
import { creationIn, hasEnded, searchAttributesOf, type Stream } from './order-run.ts';
import { refundUnwanted, wasGivenUp } from './refund-routes.ts';
import { nothing, type SagaAction, type SagaRoute, type SagaRouteDeps } from './saga-route.ts';
import type { SagaStartRequest } from './saga-client.ts';

/** Details are for people; a long order's are cut. */
const mostItemLines = 20;

export const onOrderSubmitted: SagaRoute<'order.submitted'> = (event, { limits }) => ({
  kind: 'start',
  request: orderSagaStart(event, limits),
});

/**
 * Event-carried state transfer: the event holds the saga's whole input, as it was decided. No order is looked up, so a
 * start needs nothing but this event, and is the same however late or often it is delivered.
 */
export function orderSagaStart(event: StoredEvent<EventOf<'order.submitted'>>, limits: SagaLimits): SagaStartRequest {
  const { orderId, customerId, items, total, currency, paymentMethod } = event.payload;
  const metadata = causedBy(event);
  const input: OrderSagaInput = { orderId, customerId, items, total, currency, paymentMethod, limits, metadata };
  return {
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
}

/** The order's stream says which came first: before the confirmation the saga cancels, after it the refund does. */
export const onCancellationRequested: SagaRoute<'order.cancellation_requested'> = async (event, deps) => {
  const { orderId, reason, cancelledBy } = event.payload;
  const stream = await deps.store.getEvents(orderId);
  const confirmedFirst = stream.some(
    ({ eventType, version }) => eventType === 'order.confirmed' && version < event.version,
  );
  if (confirmedFirst) {
    return { kind: 'start', request: refundOrderStart(event, creationIn(stream).customerId, deps.limits) };
  }
  const message: CancellationRequested = { eventId: event.eventId, reason, cancelledBy };
  return signalOf(deps, orderId, cancellationRequestedSignal, message, () => nothing);
};

/** The order is cancelled already: the run gives back what is held, and finds the rest done. Once, as any refund of an order. */
export const onRefundDue: SagaRoute<'order.refund_due'> = async (event, { store, limits }) => {
  const { customerId } = creationIn(await store.getEvents(event.payload.orderId));
  return { kind: 'start', request: refundOrderStart(event, customerId, limits) };
};

export function refundOrderStart(
  event: StoredEvent<EventOf<'order.cancellation_requested' | 'order.refund_due'>>,
  customerId: string,
  limits: SagaLimits,
): SagaStartRequest {
  const { orderId, reason, cancelledBy } = event.payload;
  const input: RefundOrderInput = { orderId, reason, cancelledBy, limits, metadata: causedBy(event) };
  return {
    workflow: refundOrderName,
    workflowId: refundOrderId(orderId),
    input,
    summary: `Refund of order ${orderId}: ${reason}`,
    details: `Asked for by ${cancelledBy}. The order's own saga: ${orderSagaId(orderId)}`,
    searchAttributes: searchAttributesOf(orderId, customerId, event.metadata),
  };
}

/**
 * An event notification: it says that there is news, not what is the case. Its outcome goes no further; the saga asks the
 * gateway, whose answer is the truth also where the callback was late, early, or wrong. A saga that has ended, or has said
 * its last word on this payment, does not ask: what is held then goes back. For an order that was never submitted there is
 * nobody to ask: that throws, and ends as a dead letter.
 */
export const onPaymentCallback: SagaRoute<'payment.callback_received'> = async (event, deps) => {
  const { orderId, paymentId } = event.payload;
  const stream = await deps.store.getEvents(orderId);
  if (!stream.some(({ eventType }) => eventType === 'order.submitted')) {
    throw new Error(`payment ${paymentId} came for an order that was never submitted: ${orderId}`);
  }
  if (hasEnded(stream) || (await wasGivenUp(deps, paymentId))) return await refundUnwanted(event, deps, stream);
  const message: PaymentCallback = { eventId: event.eventId, paymentId };
  const whenEnded = async (after: Stream): Promise<SagaAction> => await refundUnwanted(event, deps, after);
  return signalOf(deps, orderId, paymentCallbackSignal, message, whenEnded);
};

/** The operator names the run: the order's own saga, its refund, one of its payments', or one that is of no order. */
export const onResolutionRequested: SagaRoute<'saga.resolution_requested'> = ({ eventId, payload }, deps) => {
  const { orderId, workflowId, step, action, reference, resolvedBy } = payload;
  const message = { eventId, step, action, reference, resolvedBy };
  if (orderId === null) {
    return { kind: 'signal', workflowId, signal: resolveSignal, message, whenEnded: () => Promise.resolve(nothing) };
  }
  return signalOf(deps, orderId, resolveSignal, message, () => nothing, workflowId);
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
  afterEnd: (stream: Stream) => SagaAction | Promise<SagaAction>,
  workflowId = orderSagaId(orderId),
): SagaAction {
  const isOver = isOverOf(orderId, workflowId);
  const whenEnded = async (): Promise<SagaAction> => {
    const stream = await store.getEvents(orderId);
    if (isOver(stream)) return await afterEnd(stream);
    throw new Error(`the run of ${workflowId} is gone (terminated, or lost), and the order has not ended`);
  };
  return { kind: 'signal', workflowId, signal, message, whenEnded };
}

/** What shows in the order's stream that the run has come to its end. A refund in part leaves nothing there: it is over. */
function isOverOf(orderId: string, workflowId: string): (stream: Stream) => boolean {
  if (workflowId === orderSagaId(orderId)) return hasEnded;
  if (workflowId === refundOrderId(orderId))
    return (stream) => stream.some(({ eventType }) => eventType === 'order.cancelled');
  return () => true;
}

const itemLine = (productId: string, quantity: number, price: Money): string =>
  `- ${quantity} × ${productId} at ${price.toString()}`;
