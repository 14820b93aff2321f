// What leaves the house: every integration event with the schema of its data. A published contract: see
// docs/integration-events.md. A new shape is a new version, never an edit; what was published cannot be taken back.
//
// Data holds what a receiver needs to act, and of a person no more than an id of ours: no address, nothing that somebody
// has typed (a reason, who cancelled), nothing of how somebody pays. So an endpoint may be given to a partner.
import { z } from 'zod';
import type { EventCatalogue } from './event.ts';

const amount = z.int().min(0);
const currency = z.string().regex(/^[A-Z]{3}$/);
const ofUser = z.strictObject({ userId: z.string() });
const ofOrder = { orderId: z.string() };
const ofPayment = { paymentId: z.string(), ...ofOrder };

export const integrationCatalogue = {
  // That there is a user, or another address: who may know it asks GET /users/{id}.
  'user.created': { version: 1, schema: ofUser },
  'user.email_updated': { version: 1, schema: ofUser },
  'order.submitted': {
    version: 1,
    schema: z.strictObject({
      ...ofOrder,
      /** Left out where the client's own id of the customer is an e-mail address. */
      customerId: z.string().optional(),
      items: z.array(z.strictObject({ productId: z.string(), quantity: z.int().min(1), price: amount })).min(1),
      total: amount,
      currency,
    }),
  },
  // Total and currency are those of `order.submitted`, which comes before it.
  'order.confirmed': { version: 1, schema: z.strictObject({ ...ofOrder, paymentId: z.string() }) },
  /** `code` is a stable word (`out-of-stock`, `payment-declined`, …), to which more may come; `other` says no more. */
  'order.failed': { version: 1, schema: z.strictObject({ ...ofOrder, code: z.string() }) },
  'order.cancelled': { version: 1, schema: z.strictObject(ofOrder) },
  'payment.completed': { version: 1, schema: z.strictObject({ ...ofPayment, amount, currency }) },
  // In the currency of `payment.completed`.
  'payment.refunded': { version: 1, schema: z.strictObject({ ...ofPayment, amount }) },
} as const satisfies EventCatalogue;

export type IntegrationEventType = keyof typeof integrationCatalogue;
export type IntegrationData<N extends IntegrationEventType> = Readonly<
  z.infer<(typeof integrationCatalogue)[N]['schema']>
>;
