// The application's own bus. Nobody publishes to a transport directly, so nothing bypasses the store and the outbox.
import type { CatalogueShape, EventOfCatalogue } from './catalogue-types.ts';
import type { BusTransport, EventHandler, SubscribeOptions, Unsubscribe } from './event-bus.ts';

/** `C` is the catalogue's type: a misspelt event type or a wrong payload does not compile. */
export type EventBus<C extends CatalogueShape> = Readonly<{
  /** Returns when event and outbox rows are committed; the handlers run after that, from the relay. */
  publish(event: EventOfCatalogue<C>): Promise<void>;
  /** From now on: see `SubscribeOptions.name` for what a new handler gets. */
  subscribe<N extends keyof C & string>(
    eventType: N,
    handler: EventHandler<EventOfCatalogue<C, N>>,
    options?: SubscribeOptions,
  ): Unsubscribe;
}>;

export function createDurableEventBus<C extends CatalogueShape>(
  deps: Readonly<{ append: (event: EventOfCatalogue<C>) => Promise<unknown>; transport: BusTransport }>,
): EventBus<C> {
  return {
    async publish(event) {
      await deps.append(event);
    },
    subscribe(eventType, handler, options) {
      // The transport hands each handler only events of its type, decoded by that type's schema.
      return deps.transport.subscribe(eventType, handler as unknown as EventHandler, options);
    },
  };
}
