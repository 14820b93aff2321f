// The bus as handlers see it. Transports: in memory, or Redis; both keep this contract and pass one test suite.
import type { DomainEvent, StoredEvent } from '../domain/event.ts';
import type { Tx } from '../platform/database.ts';

/** `tx` is the handler's own short transaction: what it writes there happens once, where the handler has a name. */
export type HandlerContext = Readonly<{ tx: Tx }>;
export type EventHandler<E extends DomainEvent = DomainEvent> = (
  event: StoredEvent<E>,
  context: HandlerContext,
) => Promise<void> | void;

export type SubscribeOptions = Readonly<{
  /**
   * Stable for ever: the inbox remembers it. Without one, the handler is called at least once. A new name, also a new
   * one for an old handler, gets what is delivered from now on: no event that was delivered before, but any that is on
   * its way, or comes again. What has to go over the past is a subscription (src/event-store/subscription.ts).
   */
  name?: string;
}>;

/** Removes this one handler and nothing else; calling it again does nothing. */
export type Unsubscribe = () => void;

export type Subscribable = Readonly<{
  subscribe(eventType: string, handler: EventHandler, options?: SubscribeOptions): Unsubscribe;
}>;

/**
 * What carries events from the relay to the handlers. `deliver` resolves when the event is safe: handled (in memory)
 * or stored (Redis). It rejects otherwise, and the relay delivers again.
 */
export type BusTransport = Subscribable &
  Readonly<{ deliver(event: StoredEvent): Promise<void>; close(): Promise<void> }>;
