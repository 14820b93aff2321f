// Between an event in memory and its row: validated by the catalogue in both directions, stringified exactly once.
import type { CatalogueEntry, DomainEvent, EventCatalogue, EventMetadata, StoredEvent } from '../domain/event.ts';
import type { EventRow } from '../platform/schema.ts';

/** The event does not fit the catalogue. Not retryable; names the type and each field that is wrong. */
export class InvalidEventError extends Error {
  override readonly name = 'InvalidEventError';
}

/**
 * A stored event that this code cannot read: its type, or the version of its payload, is of another release. Who reads
 * the log stops there; guessing, or leaving it out, would make a wrong projection.
 */
export class UnknownEventError extends Error {
  override readonly name = 'UnknownEventError';
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
  /**
   * In today's shape, whatever version it was stored as.
   * @throws UnknownEventError for a type, or a version, that the catalogue does not know
   * @throws InvalidEventError where the payload fits neither its own version's schema nor today's
   */
  decode(row: EventRow): StoredEvent;
}>;

/** jsonb and text refuse NUL and lone surrogates; said before, an error can name what holds them instead of a byte. */
// oxlint-disable-next-line no-control-regex
export const unstorable = /\u0000|[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/;

/** Of a payload as JSON. An event says what happened; what is larger is stored elsewhere, and named by it. */
const mostPayloadBytes = 1_048_576;

export function createEventCodec(catalogue: EventCatalogue): EventCodec {
  const entryOf = (eventType: string): CatalogueEntry | undefined =>
    Object.hasOwn(catalogue, eventType) ? catalogue[eventType] : undefined;
  return {
    encode(event) {
      const entry = entryOf(event.eventType);
      if (entry === undefined) throw new InvalidEventError(`event type ${event.eventType} is not in the catalogue`);
      const payload = validate(event.eventType, entry, event.payload);
      const encoded = {
        id: event.eventId,
        eventType: event.eventType,
        payload: JSON.stringify(payload),
        metadata: JSON.stringify(event.metadata ?? { tenantId: 'default' }),
        schemaVersion: entry.version,
        occurredAt: event.occurredAt.toISOString(),
      };
      // JSON.stringify writes both kinds as escapes, so the values themselves are looked at.
      if (hasUnstorableText([payload, event.metadata, event.aggregateId])) {
        throw new InvalidEventError(`${event.eventType} holds text with a NUL or half a surrogate pair`);
      }
      const bytes = Buffer.byteLength(encoded.payload);
      if (bytes > mostPayloadBytes) {
        const limit = `the limit is ${mostPayloadBytes} (1 MB)`;
        throw new InvalidEventError(`${event.eventType} has a payload of ${bytes} bytes; ${limit}`);
      }
      return encoded;
    },
    decode(row) {
      const entry = entryOf(row.event_type);
      if (entry === undefined) throw new UnknownEventError(`event type ${row.event_type} is not in the catalogue`);
      return {
        eventId: row.id,
        eventType: row.event_type,
        occurredAt: row.occurred_at,
        aggregateId: row.aggregate_id,
        aggregateType: row.aggregate_type,
        payload: validate(row.event_type, entry, bringUpToDate(row, entry)),
        metadata: row.metadata as EventMetadata,
        version: row.version,
        position: row.position,
        schemaVersion: entry.version,
      };
    },
  };
}

function validate(eventType: string, { schema }: CatalogueEntry, payload: unknown): unknown {
  const parsed = schema.safeParse(payload);
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map((issue) => `payload.${issue.path.join('.')}: ${issue.message}`);
  throw new InvalidEventError(`${eventType} does not fit its schema: ${fields.join('; ')}`);
}

function bringUpToDate(row: EventRow, { version: today, upcasters = {} }: CatalogueEntry): unknown {
  const what = `${row.event_type} of version ${row.schema_version}`;
  if (row.schema_version > today) throw new UnknownEventError(`${what} is newer than this code, which knows ${today}`);
  let { payload } = row;
  for (let version = row.schema_version; version < today; version += 1) {
    const upcaster = upcasters[version];
    if (upcaster === undefined) throw new UnknownEventError(`${what} has no upcaster from version ${version}`);
    try {
      payload = upcaster(payload);
    } catch (error) {
      throw new InvalidEventError(`${what} does not become version ${version + 1}`, { cause: error });
    }
  }
  return payload;
}

function hasUnstorableText(value: unknown): boolean {
  if (typeof value === 'string') return unstorable.test(value);
  if (Array.isArray(value)) return value.some(hasUnstorableText);
  if (typeof value === 'object' && value !== null) return Object.entries(value).some(hasUnstorableText);
  return false;
}
