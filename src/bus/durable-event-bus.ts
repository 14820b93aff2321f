// The application's own bus. Nobody publishes to a transport directly, so nothing bypasses the store and the outbox.
import { causedBy, type DomainEvent, type StoredEvent } from '../domain/event.ts';
import { derivedId } from '../domain/ids.ts';
import type { Tx } from '../platform/database.ts';
import type { CatalogueShape, EventOfCatalogue, FollowUpOf } from './catalogue-types.ts';
import type { BusTransport, EventHandler, HandlerContext, SubscribeOptions, Unsubscribe } from './event-bus.ts';

/**
 * Stores an event that follows from the one that is being handled, in the handler's transaction: its effect and this
 * event commit together, or neither does. Tenant, actor, correlation and trace are the cause's. Its id derives from the
 * cause, the handler's name, the type and the aggregate, so a handler that is run again for the same event, be its inbox
 * row gone, publishes the same event, which is stored once.
 * @throws InvalidEventError where it does not fit the catalogue
 * @throws ConflictError where that id is stored with another payload: a handler publishes one event of a type for each
 * aggregate and cause
 */
export type Publish<C extends CatalogueShape> = (event: FollowUpOf<C>) => Promise<void>;

/** A handler that knows the catalogue: beside its transaction it gets what publishes within it. */
export type PublishingHandler<E extends DomainEvent, C extends CatalogueShape> = (
  event: StoredEvent<E>,
  context: HandlerContext & Readonly<{ publish: Publish<C> }>,
) => Promise<void> | void;

/** `C` is the catalogue's type: a misspelt event type or a wrong payload does not compile. */
export type EventBus<C extends CatalogueShape> = Readonly<{
  /** Returns when event and outbox rows are committed; the handlers run after that, from the relay. */
  publish(event: EventOfCatalogue<C>): Promise<void>;
  /** From now on: see `SubscribeOptions.name` for what a new handler gets. */
  subscribe<N extends keyof C & string>(
    eventType: N,
    handler: PublishingHandler<EventOfCatalogue<C, N>, C>,
    options?: SubscribeOptions,
  ): Unsubscribe;
}>;

export type DurableEventBusDeps<C extends CatalogueShape> = Readonly<{
  /** In `tx` where given, otherwise in a transaction of its own. */
  append: (event: EventOfCatalogue<C>, options?: Readonly<{ tx?: Tx }>) => Promise<unknown>;
  transport: BusTransport;
}>;

export function createDurableEventBus<C extends CatalogueShape>(deps: DurableEventBusDeps<C>): EventBus<C> {
  const { append, transport } = deps;
  return {
    async publish(event) {
      await append(event);
    },
    subscribe(eventType, handler, options) {
      const publishing: EventHandler = async (event, { tx }) => {
        const publish: Publish<C> = async (given) =>
          void (await append(followUp(event, options?.name, given) as EventOfCatalogue<C>, { tx }));
        // The transport hands each handler only events of its type, decoded by that type's schema.
        await handler(event as unknown as StoredEvent<EventOfCatalogue<C, typeof eventType>>, { tx, publish });
      };
      return transport.subscribe(eventType, publishing, options);
    },
  };
}

type Given = Pick<DomainEvent, 'eventType' | 'aggregateId' | 'aggregateType' | 'payload'>;

/** Handlers without a name count as one: what tells their follow-ups apart is type and aggregate. */
function followUp(cause: DomainEvent, handler: string | undefined, given: Given): DomainEvent {
  const { eventType, aggregateId } = given;
  return {
    ...given,
    eventId: derivedId('follow-up', cause.eventId, handler ?? '', eventType, aggregateId),
    occurredAt: new Date(),
    metadata: causedBy(cause),
  };
}
