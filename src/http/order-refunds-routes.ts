// POST /orders/{id}/refunds: a part or all of a confirmed order's money goes back; a saga of its own does it.
import { Router } from 'express';
import { z } from 'zod';
import type { EventPayload } from '../domain/catalogue.ts';
import { derivedId, newId } from '../domain/ids.ts';
import { refundPaymentId } from '../domain/saga-contract.ts';
import type { OrderState } from '../domain/order-state.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { OrderCommands } from '../orders/order-commands.ts';
import type { OrderQueries } from '../orders/order-queries.ts';
import { availableForRefund } from '../payments/available-for-refund.ts';
import type { PaymentGateway } from '../payments/payment-gateway.ts';
import type { SagaViews } from '../sagas/saga-view.ts';
import type { Attempt, Idempotent } from './idempotency/idempotent.ts';
import { once } from './idempotency/once.ts';
import { existingOrder, orderIdOf } from './order-input.ts';
import { jsonAnswer, type Answer } from './protocol/answer.ts';
import { bodyOf } from './protocol/body.ts';
import { parse, text } from './protocol/fields.ts';
import { serve, type Exchange } from './protocol/routes.ts';

/** Without `amount`: all that is held and not yet asked for. `restock`: all of the order's goods come back, once. */
const refundSchema = z.strictObject({
  amount: z.int().min(1).optional(),
  restock: z.boolean().default(false),
  reason: text(1, 500).default('a refund was asked for'),
  requestedBy: text(1, 128).default('customer'),
});

export type OrderRefundsRouterDeps = Readonly<{
  orders: OrderCommands;
  orderQueries: OrderQueries;
  store: EventStore;
  gateway: PaymentGateway;
  sagaViews: SagaViews;
  idempotent: Idempotent;
}>;

export function createOrderRefundsRouter(deps: OrderRefundsRouterDeps): Router {
  const router = Router({ caseSensitive: true });
  serve(router, '/orders/:orderId/refunds', {
    post: deps.idempotent(async (exchange, attempt) => await requestRefund(deps, exchange, attempt)),
  });
  return router;
}

async function requestRefund(
  deps: OrderRefundsRouterDeps,
  { request, metadata }: Exchange,
  attempt: Attempt,
): Promise<Answer> {
  const orderId = orderIdOf(request);
  const { currency } = await existingOrder(deps.orderQueries, metadata.tenantId, orderId);
  const asked = parse(refundSchema, bodyOf(request) ?? {});
  const refundId = attempt === undefined ? newId() : derivedId('refund-request', attempt.commandKey);
  const availableOf = async ({ paymentId, refunds }: OrderState): Promise<number> =>
    paymentId === undefined ? 0 : await availableForRefund(deps, paymentId, refunds);
  await once(
    deps,
    orderId,
    attempt,
    async (key) => await deps.orders.requestRefund(orderId, { refundId, ...asked }, availableOf, metadata, key),
  );
  const { paymentId, amount, restock } = await storedRequest(deps.store, orderId, refundId);
  const saga = deps.sagaViews.linkToRun(refundPaymentId(paymentId, refundId));
  return jsonAnswer(202, { orderId, refundId, paymentId, amount, currency, restock, saga });
}

/** As this attempt, or the one before it, has stored it. */
async function storedRequest(
  store: EventStore,
  orderId: string,
  refundId: string,
): Promise<EventPayload<'order.refund_requested'>> {
  const requests = (await store.getEvents(orderId))
    .filter(({ eventType }) => eventType === 'order.refund_requested')
    .map(({ payload }) => payload as EventPayload<'order.refund_requested'>);
  const stored = requests.find((request) => request.refundId === refundId);
  if (stored === undefined) throw new Error(`refund ${refundId} of order ${orderId} was not stored`);
  return stored;
}
