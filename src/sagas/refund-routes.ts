// What starts a refund of one payment: somebody asked for it, or money came that nobody wanted any more.
import type { CatalogueEvent, EventOf } from '../domain/catalogue.ts';
import { UnavailableError } from '../domain/errors.ts';
import { causedBy, type StoredEvent } from '../domain/event.ts';
import { sagaStreamId } from '../domain/ids.ts';
import { Money } from '../domain/money.ts';
import {
  orderSagaId,
  refundOrderId,
  refundPaymentId,
  refundPaymentName,
  type RefundPaymentInput,
  type SagaLimits,
} from '../domain/saga-contract.ts';
import type { EventStore } from '../event-store/event-store.ts';
import { creationIn, searchAttributesOf, type Stream } from './order-run.ts';
import type { SagaStartRequest } from './saga-client.ts';
import { nothing, type SagaAction, type SagaRoute, type SagaRouteDeps } from './saga-route.ts';

/** The refund of money that nobody wanted: one for each payment, whatever tells of it how often. */
export const unwantedRefund = 'unwanted';
/** The gateway is away: that holds up this payment only, not the sagas of other orders. */
const askAgainMilliseconds = 5_000;

export const onRefundRequested: SagaRoute<'order.refund_requested'> = async (event, { store, limits }) => ({
  kind: 'start',
  request: requestedRefundStart(event, await store.getEvents(event.payload.orderId), limits),
});

/** @param stream the order's */
export function requestedRefundStart(
  event: StoredEvent<EventOf<'order.refund_requested'>>,
  stream: Stream,
  limits: SagaLimits,
): SagaStartRequest {
  const { orderId, paymentId, refundId, amount, restock, reason, requestedBy } = event.payload;
  const metadata = causedBy(event);
  const input: RefundPaymentInput = { orderId, paymentId, refundId, amount, restock, reason, limits, metadata };
  return startOf(input, stream, `Asked for by ${requestedBy}.`);
}

/** The saga has undone the payment, or taken its refusal: it will not look at it again. */
export async function wasGivenUp({ store }: SagaRouteDeps, paymentId: string): Promise<boolean> {
  const types = new Set((await store.getEvents(paymentId)).map(({ eventType }) => eventType));
  return (types.has('payment.voided') || types.has('payment.failed')) && !types.has('payment.completed');
}

/**
 * All that the gateway holds of a payment goes back, unless the order was confirmed with it: then it is wanted, or its
 * cancellation refunds it. What an operator has decided to leave stays as well.
 */
export async function refundUnwanted(
  event: StoredEvent<EventOf<'payment.callback_received'>>,
  { store, heldOf, limits }: SagaRouteDeps,
  stream: Stream,
): Promise<SagaAction> {
  const { orderId, paymentId } = event.payload;
  if (confirmedWith(stream) === paymentId || (await wasLeftByHand(store, orderId, paymentId))) return nothing;
  let held: number;
  try {
    held = await heldOf(paymentId);
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
    return { kind: 'wait', reason: `the gateway is away: ${error.message}`, milliseconds: askAgainMilliseconds };
  }
  if (held === 0) return nothing;
  return { kind: 'start', request: unwantedRefundStart(event, stream, limits, held) };
}

/** @param stream the order's @param held minor units, for people: what is held when the run comes there goes back */
export function unwantedRefundStart(
  event: StoredEvent<EventOf<'payment.callback_received'>>,
  stream: Stream,
  limits: SagaLimits,
  held: number,
): SagaStartRequest {
  const { orderId, paymentId } = event.payload;
  const input: RefundPaymentInput = {
    orderId,
    paymentId,
    refundId: unwantedRefund,
    amount: 'all-held',
    restock: false,
    reason: 'the money came when the order did not wait for it any more',
    limits,
    metadata: causedBy(event),
  };
  return startOf(input, stream, `The gateway holds ${held} in minor units.`);
}

/**
 * A saga knew of the money, and an operator has ended its refund: skipped, or settled by other means, which a gateway
 * need not know of. Money that came only after such a word is not what it was about.
 */
export async function wasLeftByHand(store: EventStore, orderId: string, paymentId: string): Promise<boolean> {
  const payment = await store.getEvents(paymentId);
  if (!payment.some(({ eventType }) => eventType === 'payment.completed')) return false;
  return (
    (await wasEndedByHand(store, orderSagaId(orderId), 'charge')) ||
    (await wasEndedByHand(store, refundOrderId(orderId), 'refund'))
  );
}

async function wasEndedByHand(store: EventStore, workflowId: string, step: string): Promise<boolean> {
  const words = (await store.getEvents(sagaStreamId(workflowId))) as readonly StoredEvent<CatalogueEvent>[];
  return words.some(
    ({ eventType, payload }) =>
      eventType === 'saga.resolution_applied' && payload.step === step && payload.action !== 'retry',
  );
}

function startOf(input: RefundPaymentInput, stream: Stream, why: string): SagaStartRequest {
  const { orderId, paymentId, refundId, amount, reason, metadata } = input;
  const { customerId, currency } = creationIn(stream);
  const what = amount === 'all-held' ? 'all that is held' : Money.of(amount, currency).toString();
  return {
    workflow: refundPaymentName,
    workflowId: refundPaymentId(paymentId, refundId),
    input,
    summary: `Refund of ${what}: ${reason}`,
    details: `${why} The order's own saga: ${orderSagaId(orderId)}`,
    searchAttributes: searchAttributesOf(orderId, customerId, metadata),
  };
}

function confirmedWith(stream: Stream): string | undefined {
  const confirmed = stream.find(({ eventType }) => eventType === 'order.confirmed') as
    | StoredEvent<EventOf<'order.confirmed'>>
    | undefined;
  return confirmed?.payload.paymentId;
}
