// The envelope of every event, and what a catalogue of event types has to look like. General: knows no order.
import type { ZodType } from 'zod';
import type { Upcaster } from './upcasting.ts';

/** Travels with an event all the way: store, outbox, bus, workflow, and into every event that it causes. */
export type EventMetadata = Readonly<{
  tenantId: string;
  /** The actor. */
  userId?: string | undefined;
  /** One per command from outside; every event that follows from it carries it. */
  correlationId?: string | undefined;
  /** The event that was being handled when this one was made. */
  causationId?: string | undefined;
  /** W3C trace context. */
  traceparent?: string | undefined;
  /** Workflow id, where a saga's own step wrote the event. Such an event never goes back to that saga. */
  sagaId?: string | undefined;
}>;

/** Something that happened inside the service. `occurredAt` is for people; version and position order events. */
export type DomainEvent<T = unknown, N extends string = string> = Readonly<{
  eventId: string;
  eventType: N;
  occurredAt: Date;
  aggregateId: string;
  aggregateType: string;
  payload: T;
  metadata?: EventMetadata;
}>;

/**
 * The metadata of an event that the handling of this one causes: the same tenant, actor, correlation and trace, and this
 * event's id as its cause. Not `sagaId`: what a handler writes is no step of the saga whose step it reacts to.
 */
export function causedBy({ eventId, metadata = { tenantId: 'default' } }: DomainEvent): EventMetadata {
  const { sagaId: _, ...carried } = metadata;
  return { ...carried, causationId: eventId };
}

/**
 * What the store adds: `version` counts from 1 in the aggregate; `position` is for people, never a cursor;
 * `schemaVersion` is that of the payload as it is here, which is today's, whatever it was stored as.
 */
export type StoredEvent<E extends DomainEvent = DomainEvent> = E &
  Readonly<{ version: number; position: string; schemaVersion: number; metadata: EventMetadata }>;

/** `upcasters`: version → how a payload of that version becomes one of the next. Each that is stored needs one. */
export type CatalogueEntry = Readonly<{
  version: number;
  schema: ZodType;
  upcasters?: Readonly<Record<number, Upcaster>>;
}>;
/** Event type → today's schema and its version. Handed to the store, which validates on append and on read. */
export type EventCatalogue = Readonly<Record<string, CatalogueEntry>>;

/** Where the ids, the clock and the metadata of new events come from; see `ids.ts` for the two kinds of ids. */
export type EventContext = Readonly<{ metadata: EventMetadata; nextEventId: () => string; now: () => Date }>;
