// From a domain event to what others are told of it, or to nothing. A new event type does not compile without a line.
import type { CatalogueEvent, EventPayload, EventType } from '../domain/catalogue.ts';
import { domainErrorCodes } from '../domain/errors.ts';
import type { StoredEvent } from '../domain/event.ts';
import {
  integrationCatalogue,
  type IntegrationData,
  type IntegrationEventType,
} from '../domain/integration-catalogue.ts';
import type { IntegrationEvent } from '../domain/integration-event.ts';

/** One for all deployments: with the event's id it names an event for ever. */
const source = '/athyper-sagas';

export type TranslatedEvent = IntegrationEvent & Readonly<{ eventType: IntegrationEventType }>;
type Published = Readonly<{ eventType: IntegrationEventType; data: unknown }>;
type Translation<P> = (payload: P) => Published;

/** Of steps, drafts and repairs: nobody outside can act on them, and they may change with any release. */
const stays = undefined;

const translations: { readonly [N in EventType]: Translation<EventPayload<N>> | typeof stays } = {
  'user.created': ({ userId }) => publish('user.created', { userId }),
  'user.email_updated': ({ userId }) => publish('user.email_updated', { userId }),
  'user.email_verified': stays,
  'user.verification_reminder_due': stays,
  'user.verification_expired': stays,
  'order.created': stays,
  'order.item_added': stays,
  'order.item_removed': stays,
  'order.submitted': ({ orderId, customerId, items, total, currency }) =>
    publish('order.submitted', { orderId, customerId: unlessAddress(customerId), items, total, currency }),
  'order.cancellation_requested': stays,
  'order.refund_requested': stays,
  'order.refund_due': stays,
  'order.cancelled': ({ orderId }) => publish('order.cancelled', { orderId }),
  'order.confirmed': ({ orderId, paymentId }) => publish('order.confirmed', { orderId, paymentId }),
  'order.failed': ({ orderId, reason }) => publish('order.failed', { orderId, code: codeOf(reason) }),
  'payment.completed': ({ paymentId, orderId, amount, currency }) =>
    publish('payment.completed', { paymentId, orderId, amount, currency }),
  'payment.failed': stays,
  'payment.refunded': ({ paymentId, orderId, amount }) => publish('payment.refunded', { paymentId, orderId, amount }),
  'payment.refund_failed': stays,
  'payment.voided': stays,
  'payment.callback_received': stays,
  'inventory.reserved': stays,
  'inventory.released': stays,
  'saga.resolution_requested': stays,
  'saga.resolution_applied': stays,
};

/** Those that others are told of. */
export const translatedTypes = (Object.keys(translations) as EventType[]).filter(
  (eventType) => translations[eventType] !== stays,
);

/**
 * Pure: the same event is the same translation, in this release.
 * @returns undefined where nobody outside is told of it
 * @throws ZodError where what a translation says is not what the catalogue promises
 */
export function translate(event: StoredEvent<CatalogueEvent>): TranslatedEvent | undefined {
  // The payload is that of the type, which a look-up by the type cannot show to the compiler.
  const published = (translations[event.eventType] as Translation<unknown> | undefined)?.(event.payload);
  if (published === undefined) return undefined;
  const { version, schema } = integrationCatalogue[published.eventType];
  const { tenantId, userId, correlationId, traceparent } = event.metadata;
  return {
    eventId: event.eventId,
    eventType: published.eventType,
    version,
    occurredAt: event.occurredAt,
    source,
    aggregateId: event.aggregateId,
    aggregateType: event.aggregateType,
    sequence: event.version,
    // Strict: a field that the contract does not name goes nowhere.
    data: schema.parse(published.data),
    metadata: {
      tenantId,
      userId: unlessAddress(userId),
      correlationId: unlessAddress(correlationId),
      traceparent,
    },
  };
}

const publish = <N extends IntegrationEventType>(eventType: N, data: IntegrationData<N>): Published => ({
  eventType,
  data,
});

/** Ids that a client chooses may be e-mail addresses, and those stay here. */
const unlessAddress = (id: string | undefined): string | undefined => (id?.includes('@') === true ? undefined : id);

/** A reason is a code and a text, or, where the gateway or an operator wrote it, anything. */
function codeOf(reason: string): string {
  const [code] = reason.split(':');
  return domainErrorCodes.find((known) => known === code) ?? 'other';
}
