// What can be done to an order that is there: items, submit, cancel.
import { Router } from 'express';
import { z } from 'zod';
import type { EventStore } from '../event-store/event-store.ts';
import type { OrderCommands } from '../orders/order-commands.ts';
import type { OrderQueries } from '../orders/order-queries.ts';
import type { SagaViews } from '../sagas/saga-view.ts';
import type { Attempt, Idempotent } from './idempotency/idempotent.ts';
import { once } from './idempotency/once.ts';
import { existingOrder, itemSchema, orderIdOf } from './order-input.ts';
import { jsonAnswer, type Answer } from './protocol/answer.ts';
import { bodyOf } from './protocol/body.ts';
import { parse, pathSafeId, text } from './protocol/fields.ts';
import { waitOf } from './protocol/prefer.ts';
import { pathPart, serve, type Exchange } from './protocol/routes.ts';
import { waitForEnd } from './wait-for-order.ts';

const noBodySchema = z.strictObject({}).optional();
const cancelSchema = z.strictObject({ reason: text(1, 500), cancelledBy: text(1, 128).default('customer') });
const partsSchema = z.object({ productId: pathSafeId });

export type OrderChangesRouterDeps = Readonly<{
  orders: OrderCommands;
  orderQueries: OrderQueries;
  store: EventStore;
  sagaViews: SagaViews;
  idempotent: Idempotent;
  stopping?: AbortSignal;
}>;

export function createOrderChangesRouter(deps: OrderChangesRouterDeps): Router {
  const { orders, orderQueries, idempotent } = deps;
  const router = Router({ caseSensitive: true });

  serve(router, '/orders/:orderId/items', {
    post: idempotent(async ({ request, metadata }, attempt) => {
      const orderId = orderIdOf(request);
      const item = parse(itemSchema, bodyOf(request));
      await once(deps, orderId, attempt, async (key) => await orders.addItem(orderId, item, metadata, key));
      return jsonAnswer(200, await existingOrder(orderQueries, metadata.tenantId, orderId));
    }),
  });

  serve(router, '/orders/:orderId/items/:productId', {
    delete: async ({ request, metadata }) => {
      const orderId = orderIdOf(request);
      const { productId } = parse(partsSchema, { productId: pathPart(request, 'productId') });
      await orders.removeItem(orderId, productId, metadata);
      return jsonAnswer(200, await existingOrder(orderQueries, metadata.tenantId, orderId));
    },
  });

  serve(router, '/orders/:orderId/submit', {
    post: idempotent(async (exchange, attempt) => await submit(deps, exchange, attempt)),
  });

  serve(router, '/orders/:orderId/cancel', {
    post: idempotent(async ({ request, metadata }, attempt) => {
      const orderId = orderIdOf(request);
      const { reason, cancelledBy } = parse(cancelSchema, bodyOf(request));
      const cancel = async (key?: string) => await orders.cancel(orderId, reason, cancelledBy, metadata, key);
      const cancelled = await once(deps, orderId, attempt, cancel);
      const view = await existingOrder(orderQueries, metadata.tenantId, orderId);
      // Anything but a draft is cancelled by a saga, later.
      const isDone = (cancelled?.state.status ?? view.status) === 'cancelled';
      return jsonAnswer(isDone ? 200 : 202, view);
    }),
  });
  return router;
}

async function submit(deps: OrderChangesRouterDeps, exchange: Exchange, attempt: Attempt): Promise<Answer> {
  const { orders, orderQueries, sagaViews, stopping } = deps;
  const { request, metadata, clientGone } = exchange;
  const { tenantId } = metadata;
  const orderId = orderIdOf(request);
  parse(noBodySchema, bodyOf(request));
  await once(deps, orderId, attempt, async (key) => await orders.submit(orderId, metadata, key));
  const seconds = waitOf(request.get('Prefer'));
  if (seconds !== undefined) {
    const giveUp = stopping === undefined ? clientGone : AbortSignal.any([clientGone, stopping]);
    const ended = await waitForEnd(orderQueries, { tenantId, orderId }, { seconds, giveUp });
    if (ended !== undefined) return jsonAnswer(200, ended, { 'Preference-Applied': `wait=${seconds}` });
  }
  const { status } = await existingOrder(orderQueries, tenantId, orderId);
  const { workflowId, webUrl } = sagaViews.linkOf(orderId);
  return jsonAnswer(202, { orderId, status, saga: { workflowId, webUrl } });
}
