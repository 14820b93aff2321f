// What an order's stream says, which is what counts; its row may be behind or damaged.
import type { EventOf } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import { evolveOrder, type OrderEvent, type OrderState } from '../domain/order-state.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { Tx } from '../platform/database.ts';

export type OrderFacts = Readonly<{
  state: OrderState;
  version: number;
  submitted: StoredEvent<EventOf<'order.submitted'>> | undefined;
  cancellation: StoredEvent<EventOf<'order.cancellation_requested'>> | undefined;
}>;

/** @returns undefined where there is no such order */
export async function readOrder(store: EventStore, orderId: string, tx?: Tx): Promise<OrderFacts | undefined> {
  return factsOf(await store.getEvents(orderId, tx === undefined ? {} : { tx }));
}

export function factsOf(stored: readonly StoredEvent[]): OrderFacts | undefined {
  const events = stored as unknown as readonly StoredEvent<OrderEvent>[];
  let state: OrderState | undefined;
  for (const event of events) state = evolveOrder(state, event);
  if (state === undefined) return undefined;
  return {
    state,
    version: events.length,
    submitted: events.find((event) => event.eventType === 'order.submitted'),
    cancellation: events.find((event) => event.eventType === 'order.cancellation_requested'),
  };
}

/** Ended, and not confirmed: nothing may be held for it any more. An order that never was is the same. */
export const holdsNothing = (order: OrderFacts | undefined): boolean =>
  order === undefined || order.state.status === 'failed' || order.state.status === 'cancelled';
