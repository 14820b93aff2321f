// What live delivery does about an event that this code cannot read: it parks it. The log's readers stop instead.
import type { StoredEvent } from '../domain/event.ts';
import { InvalidEventError, UnknownEventError, type EventCodec } from '../event-store/event-codec.ts';
import { PermanentDeliveryError } from '../outbox/delivery.ts';
import type { EventRow } from '../platform/schema.ts';

/** Trying again does not teach this process a type or a version: a dead letter at once, sent again by newer code. */
export function decodeForDelivery(codec: EventCodec): (row: EventRow) => StoredEvent {
  return (row) => {
    try {
      return codec.decode(row);
    } catch (error) {
      if (!(error instanceof UnknownEventError) && !(error instanceof InvalidEventError)) throw error;
      throw new PermanentDeliveryError(`${error.name}: ${error.message}`, { cause: error });
    }
  };
}
