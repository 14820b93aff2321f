// Which transport carries events to the handlers, and the application's bus in front of it.
import { createDurableEventBus, type EventBus } from '../bus/durable-event-bus.ts';
import type { BusTransport } from '../bus/event-bus.ts';
import { InMemoryEventBus } from '../bus/in-memory-event-bus.ts';
import { RedisEventBus } from '../bus/redis-event-bus.ts';
import type { CatalogueShape } from '../bus/catalogue-types.ts';
import type { EventStore } from '../event-store/event-store.ts';
import { parkDelivery } from '../outbox/park-delivery.ts';
import type { EventRow } from '../platform/schema.ts';
import { destinations } from '../sagas/event-routes.ts';
import { decodeForDelivery } from './decode.ts';
import type { Parts } from './parts.ts';

/** In memory: handlers run in the process that delivers. */
export function createInMemoryBus({ db, observers }: Parts): InMemoryEventBus {
  return new InMemoryEventBus({ db, observe: observers.handlers });
}

export function createRedisBus({ db, codec, logger, observers }: Parts, url: string): RedisEventBus {
  const destination = destinations.bus;
  const park = async (event: EventRow, error: string): Promise<void> =>
    await parkDelivery(db, destination, event, error);
  const decode = decodeForDelivery(codec);
  return new RedisEventBus({ url, db, logger, destination, park, decode, observe: observers.handlers });
}

/** What handlers subscribe to; `publish` stores the event and its deliveries. */
export function busInFrontOf<C extends CatalogueShape>(
  { store }: Readonly<{ store: EventStore }>,
  transport: BusTransport,
): EventBus<C> {
  return createDurableEventBus<C>({ append: async (event, options) => await store.append(event, options), transport });
}
