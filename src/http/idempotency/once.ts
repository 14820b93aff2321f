// A command on an order that runs once per Idempotency-Key, also where the first attempt died before its answer.
import type { EventSourcedOrder } from '../../domain/order.ts';
import type { EventStore } from '../../event-store/event-store.ts';
import { commandEventId } from '../../orders/order-commands.ts';
import type { Attempt } from './idempotent.ts';

/**
 * Runs the command, unless an earlier attempt with the same Idempotency-Key has: it may have died, or lost its
 * connection, between the commit and the answer. Then the command's event is in the order's stream.
 * @returns the order as the command left it, or undefined where it was done before
 */
export async function once(
  { store }: Readonly<{ store: EventStore }>,
  orderId: string,
  attempt: Attempt,
  command: (commandKey?: string) => Promise<EventSourcedOrder>,
): Promise<EventSourcedOrder | undefined> {
  if (attempt?.repeated === true) {
    const eventId = commandEventId(attempt.commandKey);
    // The id is derived from tenant and path as well, so only this tenant's command on this order can have it.
    if ((await store.getEvents(orderId)).some((event) => event.eventId === eventId)) return undefined;
  }
  return await command(attempt?.commandKey);
}
