// Orders: make one, list them, look at one.
import { Router } from 'express';
import { z } from 'zod';
import { isId } from '../domain/ids.ts';
import type { OrderCommands } from '../orders/order-commands.ts';
import type { OrderQueries } from '../orders/order-queries.ts';
import { idOfAttempt, type Idempotent } from './idempotency/idempotent.ts';
import { existingOrder, itemSchema, orderIdOf } from './order-input.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { bodyOf } from './protocol/body.ts';
import { countOf, currency, parse, pathSafeId, text } from './protocol/fields.ts';
import { serve } from './protocol/routes.ts';

const newOrderSchema = z.strictObject({
  customerId: pathSafeId,
  currency,
  items: z.array(itemSchema),
  paymentMethod: text(1, 128).default('pm_ok'),
});

/** Opaque to clients: the last order id of the page before. */
const cursor = z
  .string()
  .transform((given) => Buffer.from(given, 'base64url').toString())
  .refine(isId, 'must be the `next` of an earlier answer');
const mostListed = 200;
const listSchema = z.strictObject({
  status: z.enum(['draft', 'submitted', 'confirmed', 'failed', 'cancelled']).optional(),
  limit: countOf(mostListed, 50),
  cursor: cursor.optional(),
});

export type OrdersRouterDeps = Readonly<{ orders: OrderCommands; orderQueries: OrderQueries; idempotent: Idempotent }>;

export function createOrdersRouter({ orders, orderQueries, idempotent }: OrdersRouterDeps): Router {
  const router = Router({ caseSensitive: true });

  serve(router, '/orders', {
    get: async ({ request, metadata }) => {
      const { status, limit, cursor: before } = parse(listSchema, request.query);
      // One more than asked for tells whether there is a next page.
      const found = await orderQueries.listOrders(metadata.tenantId, { status, limit: limit + 1, before });
      const page = found.slice(0, limit);
      const last = found.length > limit ? page.at(-1) : undefined;
      const next = last === undefined ? null : Buffer.from(last.orderId).toString('base64url');
      return jsonAnswer(200, { orders: page, next });
    },
    // The id comes from the key, so however often the request is sent, it makes one order.
    post: idempotent(async ({ request, metadata }, attempt) => {
      const input = parse(newOrderSchema, bodyOf(request));
      const orderId = attempt === undefined ? undefined : idOfAttempt(attempt);
      const order = await orders.create({ ...input, orderId }, metadata);
      const view = await existingOrder(orderQueries, metadata.tenantId, order.state.orderId);
      return jsonAnswer(201, view, { Location: `/orders/${view.orderId}` });
    }),
  });

  serve(router, '/orders/:orderId', {
    get: async ({ request, metadata }) =>
      jsonAnswer(200, await existingOrder(orderQueries, metadata.tenantId, orderIdOf(request))),
  });
  return router;
}
