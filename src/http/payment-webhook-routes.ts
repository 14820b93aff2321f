// POST /webhooks/payments: the payment gateway's callback. It is signed, and so needs no tenant and no key of its own.
import { Router } from 'express';
import { z } from 'zod';
import type { PaymentCallbacks } from '../payments/payment-callbacks.ts';
import { emptyAnswer } from './protocol/answer.ts';
import { parseJson, rawBodyOf } from './protocol/body.ts';
import { currency, parse, price, text } from './protocol/fields.ts';
import { HttpError } from './protocol/problems.ts';
import { tracingOf } from './protocol/request-context.ts';
import { respond, serve } from './protocol/routes.ts';
import { createSignatureCheck } from './webhook-signature.ts';

/** Not strict: a gateway may tell more than we asked for, and a callback that is refused is money that is not known. */
const callbackSchema = z.object({
  type: z.enum(['payment.completed', 'payment.failed']),
  paymentId: text(1, 128),
  orderId: text(1, 128),
  amount: price,
  currency,
  reason: text(0, 1000).optional(),
});

export function createPaymentWebhookRouter(
  deps: Readonly<{ callbacks: PaymentCallbacks; webhookSecret: string }>,
): Router {
  const check = createSignatureCheck({ secret: deps.webhookSecret, now: () => new Date() });
  const router = Router({ caseSensitive: true });

  // Idempotency-Key is for clients that make up a key; here the webhook-id is one.
  serve(router, '/webhooks/payments', {
    post: respond(async ({ request }) => {
      const body = rawBodyOf(request);
      const verdict = check({
        id: request.get('webhook-id'),
        timestamp: request.get('webhook-timestamp'),
        signatures: request.get('webhook-signature'),
        body,
      });
      if (!verdict.ok) throw new HttpError({ status: 401, code: 'signature-not-valid', detail: verdict.why });
      const { type, ...callback } = parse(callbackSchema, parseJson(request, body));
      await deps.callbacks.receive(
        verdict.id,
        { ...callback, reason: callback.reason, outcome: type === 'payment.completed' ? 'completed' : 'failed' },
        tracingOf(request),
      );
      return emptyAnswer;
    }),
  });
  return router;
}
