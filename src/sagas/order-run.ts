// What every run for an order takes from the order's events.
import type { EventOf, EventPayload } from '../domain/catalogue.ts';
import type { EventMetadata, StoredEvent } from '../domain/event.ts';

export type Stream = readonly StoredEvent[];
const ends: ReadonlySet<string> = new Set(['order.confirmed', 'order.failed', 'order.cancelled']);
export const hasEnded = (stream: Stream): boolean => stream.some(({ eventType }) => ends.has(eventType));

export function creationIn(stream: Stream): EventPayload<'order.created'> {
  const created = stream.find(({ eventType }) => eventType === 'order.created') as StoredEvent<
    EventOf<'order.created'>
  >;
  return created.payload;
}

export const searchAttributesOf = (orderId: string, customerId: string, { tenantId }: EventMetadata) => ({
  OrderId: orderId,
  CustomerId: customerId,
  TenantId: tenantId,
  SagaStatus: 'Running',
  SagaStep: 'start',
});
