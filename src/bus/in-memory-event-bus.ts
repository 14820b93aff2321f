// The bus within one process: the relay's delivery runs the handlers and reports how they ended.
import { UnavailableError } from '../domain/errors.ts';
import type { StoredEvent } from '../domain/event.ts';
import { describeError } from '../outbox/delivery.ts';
import type { BusTransport, EventHandler, SubscribeOptions, Unsubscribe } from './event-bus.ts';
import {
  createHandlerRegistry,
  isNobodysFault,
  type HandlerRegistry,
  type HandlerRegistryDeps,
} from './handler-registry.ts';

/** Back-pressure is the caller's: the relay has a bounded number of deliveries under way and awaits each. */
export class InMemoryEventBus implements BusTransport {
  readonly #registry: HandlerRegistry;
  readonly #underWay = new Set<Promise<void>>();

  constructor(deps: HandlerRegistryDeps) {
    this.#registry = createHandlerRegistry(deps);
  }

  subscribe(eventType: string, handler: EventHandler, options?: SubscribeOptions): Unsubscribe {
    return this.#registry.subscribe(eventType, handler, options);
  }

  /**
   * Resolves when every handler has committed.
   * @throws UnavailableError where the database was away for all that failed: nothing is wrong with the event
   * @throws AggregateError naming the handlers that failed
   */
  async deliver(event: StoredEvent): Promise<void> {
    const handling = this.#registry.handle(event);
    this.#underWay.add(handling);
    try {
      await handling;
    } catch (error) {
      if (isNobodysFault(error)) throw new UnavailableError(describeError(error), { cause: error });
      throw error;
    } finally {
      this.#underWay.delete(handling);
    }
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#underWay);
  }
}
