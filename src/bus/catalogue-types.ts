// From a catalogue (event type → schema) to the types of its events.
import type { z } from 'zod';
import type { DomainEvent, EventCatalogue } from '../domain/event.ts';

export type CatalogueShape = EventCatalogue;
export type EventOfCatalogue<C extends CatalogueShape, N extends keyof C & string = keyof C & string> = {
  [K in N]: DomainEvent<z.infer<C[K]['schema']>, K>;
}[N];
/** What its writer says of an event that follows from another; see `Publish`. */
export type FollowUpOf<C extends CatalogueShape> = {
  [K in keyof C & string]: Pick<EventOfCatalogue<C, K>, 'eventType' | 'aggregateId' | 'aggregateType' | 'payload'>;
}[keyof C & string];
