// POST /orders/{id}/saga/resolve: what an operator decides about a step that is parked.
import { Router, type Request } from 'express';
import { z } from 'zod';
import { longestReference, resolutionActions } from '../domain/saga-resolution.ts';
import { commandEventId } from '../orders/order-commands.ts';
import type { OrderQueries } from '../orders/order-queries.ts';
import type { ResolutionRequest, SagaResolutions } from '../sagas/saga-resolutions.ts';
import type { Attempt, Idempotent } from './idempotency/idempotent.ts';
import { existingOrder, orderIdOf } from './order-input.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { bodyOf } from './protocol/body.ts';
import { parse, text } from './protocol/fields.ts';
import { notFound } from './protocol/problems.ts';
import { serve } from './protocol/routes.ts';

const resolveSchema = z.strictObject({
  step: text(1, 100),
  action: z.enum(resolutionActions),
  reference: text(1, longestReference).regex(/\S/, 'must not be blank').optional(),
  resolvedBy: text(1, 128).default('operator'),
});

/** What both calls take. @throws where the body is none */
export function resolutionIn(request: Request): ResolutionRequest {
  const { reference, ...word } = parse(resolveSchema, bodyOf(request));
  return { ...word, reference };
}

export const eventIdOf = (attempt: Attempt): string | undefined =>
  attempt === undefined ? undefined : commandEventId(attempt.commandKey);

export type SagaResolveRouterDeps = Readonly<{
  orderQueries: OrderQueries;
  resolutions: SagaResolutions;
  idempotent: Idempotent;
}>;

export function createSagaResolveRouter({ orderQueries, resolutions, idempotent }: SagaResolveRouterDeps): Router {
  const router = Router({ caseSensitive: true });
  serve(router, '/orders/:orderId/saga/resolve', {
    post: idempotent(async ({ request, metadata }, attempt) => {
      const word = resolutionIn(request);
      const order = await existingOrder(orderQueries, metadata.tenantId, orderIdOf(request));
      const { orderId, status } = order;
      if (status === 'draft') throw notFound('saga-not-found', `the order ${orderId} was never submitted`);
      const { workflowId } = await resolutions.request(order, word, metadata, eventIdOf(attempt));
      // The saga hears of it through the outbox, and acts on it then.
      return jsonAnswer(202, { orderId, workflowId, step: word.step, action: word.action });
    }),
  });
  return router;
}
