// Which event starts or signals which workflow.
import type { EventOf } from '../domain/catalogue.ts';
import type { EventMetadata, StoredEvent } from '../domain/event.ts';
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
import type { EventStore } from '../event-store/event-store.ts';
import { delivered, type Deliver, type DeliveryOutcome } from '../outbox/delivery.ts';
import type { SagaClient, SagaStartRequest } from './saga-client.ts';
import type { SagaStarts } from './saga-starts.ts';

export type SagaRouterDeps = Readonly<{
  client: SagaClient;
  starts: SagaStarts;
  store: EventStore;
  limits: SagaLimits;
}>;

/** A start that is under way takes milliseconds; the signal behind it keeps its place and its attempts. */
const waitForStart: DeliveryOutcome = { kind: 'wait', reason: 'the saga is not started yet', milliseconds: 200 };

type SagaEvent = StoredEvent<EventOf<'order.submitted' | 'order.cancellation_requested' | 'payment.callback_received'>>;

/** The `deliver` of destination `temporal`. An event that a saga's own step wrote never comes here: see event-routes. */
export function createSagaRouter(deps: SagaRouterDeps): Deliver {
  return async ({ event: stored }) => {
    // The routing table sends these three types only; anything else is another destination's.
    const event = stored as SagaEvent;
    switch (event.eventType) {
      case 'order.submitted':
        return await startOnce(deps, event, orderSagaStart(event, deps.limits));
      case 'order.cancellation_requested':
        return await cancel(deps, event);
      case 'payment.callback_received': {
        const message: PaymentCallback = { eventId: event.eventId, paymentId: event.payload.paymentId };
        return await signal(deps, event.payload.orderId, paymentCallbackSignal, message);
      }
    }
  };
}

/** `starting` is written, Temporal is called with no transaction open, then `started`: only that skips the call. */
async function startOnce(
  { client, starts }: SagaRouterDeps,
  event: SagaEvent,
  request: SagaStartRequest,
): Promise<DeliveryOutcome> {
  const before = await starts.begin(request.workflowId, event.aggregateId, event.eventId);
  if (before?.state === 'started') return delivered;
  await starts.markStarted(request.workflowId, await client.start(request));
  return delivered;
}

/** The order's stream says which came first: before the confirmation the saga cancels, after it the refund does. */
async function cancel(
  deps: SagaRouterDeps,
  event: SagaEvent & EventOf<'order.cancellation_requested'>,
): Promise<DeliveryOutcome> {
  const { orderId, reason, cancelledBy } = event.payload;
  const stream = await deps.store.getEvents(orderId);
  const confirmedFirst = stream.some(
    ({ eventType, version }) => eventType === 'order.confirmed' && version < event.version,
  );
  if (confirmedFirst) {
    return await startOnce(deps, event, refundOrderStart(event, customerIn(stream)));
  }
  const message: CancellationRequested = { eventId: event.eventId, reason, cancelledBy };
  return await signal(deps, orderId, cancellationRequestedSignal, message);
}

export function refundOrderStart(
  event: StoredEvent<EventOf<'order.cancellation_requested'>>,
  customerId: string,
): SagaStartRequest {
  const { orderId, reason, cancelledBy } = event.payload;
  const input: RefundOrderInput = { orderId, reason, cancelledBy, metadata: causedBy(event) };
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
 * A saga that has ended took the order's stream, or the ledger, into account, and there is nothing more to say to it.
 * Its end is in the stream before its run closes; a run that is gone without it was terminated or lost.
 * @throws where the run is gone and the order has not ended: that ends as a dead letter, for people to see
 */
async function signal(
  { client, starts, store }: SagaRouterDeps,
  orderId: string,
  name: string,
  message: CancellationRequested | PaymentCallback,
): Promise<DeliveryOutcome> {
  const workflowId = orderSagaId(orderId);
  if ((await starts.find(workflowId))?.state !== 'started') return waitForStart;
  if (await client.signal(workflowId, name, message)) return delivered;
  const stream = await store.getEvents(orderId);
  if (stream.some(({ eventType }) => ends.has(eventType))) return delivered;
  throw new Error(`the run of ${workflowId} is gone (terminated, or lost), and the order has not ended`);
}

const ends: ReadonlySet<string> = new Set(['order.confirmed', 'order.failed', 'order.cancelled']);
/** Details are for people; a long order's are cut. */
const mostItemLines = 20;

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

const itemLine = (productId: string, quantity: number, price: Money): string =>
  `- ${quantity} × ${productId} at ${price.toString()}`;

function customerIn(stream: readonly StoredEvent[]): string {
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

/** What the saga does from here on is caused by this event. */
const causedBy = ({ metadata, eventId }: StoredEvent): EventMetadata => ({ ...metadata, causationId: eventId });
