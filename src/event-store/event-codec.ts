// Between an event in memory and its row: validated by the catalogue in both directions, stringified exactly once.
import type { DomainEvent, EventCatalogue, EventMetadata, StoredEvent } from '../domain/event.ts';
import type { EventRow } from '../platform/schema.ts';

/** The event does not fit the catalogue. Not retryable; names the type and each field that is wrong. */
export class InvalidEventError extends Error {
  override readonly name = 'InvalidEventError';
}

export type EncodedEvent = Readonly<{
  id: string;
  eventType: string;
  payload: string;
  metadata: string;
  schemaVersion: number;
  occurredAt: string;
}>;

export type EventCodec = Readonly<{
  /** @throws InvalidEventError */
  encode(event: DomainEvent): EncodedEvent;
  /** @throws InvalidEventError also for a type that the catalogue does not know */
  decode(row: EventRow): StoredEvent;
}>;

/** jsonb and text refuse NUL and lone surrogates; said before, an error can name what holds them instead of a byte. */
// oxlint-disable-next-line no-control-regex
export const unstorable = /\u0000|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;

export function createEventCodec(catalogue: EventCatalogue): EventCodec {
  const parse = (eventType: string, payload: unknown): Readonly<{ payload: unknown; version: number }> => {
    const entry = Object.hasOwn(catalogue, eventType) ? catalogue[eventType] : undefined;
    if (entry === undefined) throw new InvalidEventError(`event type ${eventType} is not in the catalogue`);
    const parsed = entry.schema.safeParse(payload);
    if (parsed.success) return { payload: parsed.data, version: entry.version };
    const fields = parsed.error.issues.map((issue) => `payload.${issue.path.join('.')}: ${issue.message}`);
    throw new InvalidEventError(`${eventType} does not fit its schema: ${fields.join('; ')}`);
  };
  return {
    encode(event) {
      const { payload, version } = parse(event.eventType, event.payload);
      const encoded = {
        id: event.eventId,
        eventType: event.eventType,
        payload: JSON.stringify(payload),
        metadata: JSON.stringify(event.metadata ?? { tenantId: 'default' }),
        schemaVersion: version,
        occurredAt: event.occurredAt.toISOString(),
      };
      // JSON.stringify writes both kinds as escapes, so the values themselves are looked at.
      if (hasUnstorableText([payload, event.metadata, event.aggregateId])) {
        throw new InvalidEventError(`${event.eventType} holds text with a NUL or half a surrogate pair`);
      }
      return encoded;
    },
    decode(row) {
      return {
        eventId: row.id,
        eventType: row.event_type,
        occurredAt: row.occurred_at,
        aggregateId: row.aggregate_id,
        aggregateType: row.aggregate_type,
        payload: parse(row.event_type, row.payload).payload,
        metadata: row.metadata as EventMetadata,
        version: row.version,
        position: row.position,
        schemaVersion: row.schema_version,
      };
    },
  };
}

function hasUnstorableText(value: unknown): boolean {
  if (typeof value === 'string') return unstorable.test(value);
  if (Array.isArray(value)) return value.some(hasUnstorableText);
  if (typeof value === 'object' && value !== null) return Object.values(value).some(hasUnstorableText);
  return false;
}
