// The event store: append with an expected version, read a stream by version and the log in its safe order.
import { sql } from 'kysely';
import type { DomainEvent, StoredEvent } from '../domain/event.ts';
import type { Db, Queryable, Tx } from '../platform/database.ts';
import type { EventRow } from '../platform/schema.ts';
import { appendToAll, type StreamAppend } from './append-all.ts';
import {
  appendEvents,
  isAppendedMeanwhile,
  type Appended,
  type ExpectedVersion,
  type Routes,
  type StreamRef,
} from './append.ts';
import type { EncodedEvent, EventCodec } from './event-codec.ts';
import { encodeCursor, logStart, type LogCursor } from './log-cursor.ts';

export type LogFilter = Readonly<{
  after?: LogCursor | undefined;
  /** The last one that is read. */
  upTo?: LogCursor | undefined;
  limit?: number | undefined;
  eventType?: string | undefined;
  aggregateId?: string | undefined;
  tenantId?: string | undefined;
  from?: Date | undefined;
  to?: Date | undefined;
  tx?: Tx | undefined;
}>;
/** `next` reads on from here, also when the page was empty. */
export type LogPage = Readonly<{
  events: readonly StoredEvent[];
  next: string;
  /** The same as `next`, for readers that keep a checkpoint. */
  end: LogCursor;
}>;

/** The events of one aggregate, for an append to several. */
export type AggregateAppend<E extends DomainEvent = DomainEvent> = Readonly<{
  events: E | readonly E[];
  expectedVersion?: ExpectedVersion;
}>;

/** `E` is the union of a catalogue's events: a misspelt event type or a wrong payload does not compile. */
export type EventStore<E extends DomainEvent = DomainEvent> = Readonly<{
  /**
   * One or many events of one aggregate: all or none, in one round trip, with their outbox rows.
   * In `tx` where given, otherwise in a transaction of its own. The same event again is a success.
   * @throws ConflictError where the stream is not at the expected version (default: `any`)
   * @throws InvalidEventError where an event does not fit the catalogue
   */
  append(
    events: E | readonly E[],
    options?: Readonly<{ expectedVersion?: ExpectedVersion; tx?: Tx }>,
  ): Promise<readonly StoredEvent[]>;
  /**
   * Several aggregates, each named once: all or none. Their streams are locked in one order, whatever order they are
   * given in, and all events get one place in the log, in the given order.
   * @returns for each append its events
   * @throws ConflictError where one stream is not at its expected version; nothing is stored
   * @throws InvalidEventError where an event does not fit the catalogue
   */
  appendAll(
    appends: readonly AggregateAppend<E>[],
    options?: Readonly<{ tx?: Tx }>,
  ): Promise<readonly (readonly StoredEvent[])[]>;
  /** The stream in the order of its versions. */
  getEvents(
    aggregateId: string,
    options?: Readonly<{ fromVersion?: number; tx?: Tx }>,
  ): Promise<readonly StoredEvent[]>;
  getEventsByType(eventType: string, options?: Omit<LogFilter, 'eventType'>): Promise<LogPage>;
  /** Skips no event that commits late, and keeps the order of every stream. */
  readLog(filter?: LogFilter): Promise<LogPage>;
  /**
   * All events that the filter lets through, in the order of `readLog`, up to what is safe to read when it gets there.
   * Holds one page (`limit`) at a time and no transaction between them; ends with the loop that reads it.
   */
  iterate(filter?: LogFilter): AsyncIterableIterator<StoredEvent>;
}>;

export type EventStoreDeps = Readonly<{
  db: Db;
  codec: EventCodec;
  routes: Routes;
  /** Called after an append outside a unit of work has committed. */
  onCommitted: () => void;
}>;

const columns = sql`events.id, events.event_type, events.aggregate_id, events.aggregate_type, events.version,
  events.payload, events.metadata, events.schema_version, events.occurred_at, events.position::text as position`;

export class PgEventStore implements EventStore {
  readonly #deps: EventStoreDeps;

  constructor(deps: EventStoreDeps) {
    this.#deps = deps;
  }

  async append(
    given: DomainEvent | readonly DomainEvent[],
    options: Readonly<{ expectedVersion?: ExpectedVersion; tx?: Tx }> = {},
  ): Promise<readonly StoredEvent[]> {
    const { db, codec, routes, onCommitted } = this.#deps;
    const prepared = prepare(codec, given, options.expectedVersion);
    if (prepared === undefined) return [];
    const { stream, encoded, expected } = prepared;
    const append = async (): Promise<readonly Appended[]> =>
      await appendEvents(options.tx ?? db, routes, stream, encoded, expected);
    const appended = options.tx === undefined ? await again(append) : await append();
    if (options.tx === undefined) onCommitted();
    return asStored(prepared, appended);
  }

  async appendAll(
    appends: readonly AggregateAppend[],
    options: Readonly<{ tx?: Tx }> = {},
  ): Promise<readonly (readonly StoredEvent[])[]> {
    const { db, codec, routes, onCommitted } = this.#deps;
    const prepared = appends.map(({ events, expectedVersion }) => prepare(codec, events, expectedVersion));
    const some = prepared.filter((each) => each !== undefined);
    if (new Set(some.map(({ stream }) => stream.aggregateId)).size < some.length) {
      throw new TypeError('one append to several aggregates names each of them once');
    }
    if (some.length === 0) return prepared.map(() => []);
    const all = some.map(({ stream, encoded, expected }): StreamAppend => ({ stream, events: encoded, expected }));
    const { tx } = options;
    const appended =
      tx === undefined
        ? await again(async () => await db.transaction().execute(async (own) => await appendToAll(own, routes, all)))
        : await appendToAll(tx, routes, all);
    if (tx === undefined) onCommitted();
    return prepared.map((each) => (each === undefined ? [] : asStored(each, appended[some.indexOf(each)] ?? [])));
  }

  async getEvents(
    aggregateId: string,
    options: Readonly<{ fromVersion?: number; tx?: Tx }> = {},
  ): Promise<readonly StoredEvent[]> {
    const db: Queryable = options.tx ?? this.#deps.db;
    const { rows } = await sql<EventRow>`
      select ${columns} from events
      where events.aggregate_id = ${aggregateId} and events.version >= ${options.fromVersion ?? 1}
      order by events.version`.execute(db);
    return rows.map((row) => this.#deps.codec.decode(row));
  }

  async getEventsByType(eventType: string, options: Omit<LogFilter, 'eventType'> = {}): Promise<LogPage> {
    return await this.readLog({ ...options, eventType });
  }

  async readLog(filter: LogFilter = {}): Promise<LogPage> {
    const after = filter.after ?? logStart;
    // Columns are qualified: `order by ordering_xid` would otherwise sort the text alias of the select list.
    const { rows } = await sql<EventRow & { xid: string }>`
      select ${columns}, events.ordering_xid::text as xid from events
      where events.ordering_xid < pg_snapshot_xmin(pg_current_snapshot())
        and (events.ordering_xid, events.position) > (${after.xid}::xid8, ${after.position}::bigint)
        and (${filter.upTo?.xid ?? null}::xid8 is null or (events.ordering_xid, events.position)
          <= (${filter.upTo?.xid ?? null}::xid8, ${filter.upTo?.position ?? null}::bigint))
        and (${filter.eventType ?? null}::text is null or events.event_type = ${filter.eventType ?? null})
        and (${filter.aggregateId ?? null}::text is null or events.aggregate_id = ${filter.aggregateId ?? null})
        and (${filter.tenantId ?? null}::text is null or events.tenant_id = ${filter.tenantId ?? null})
        and (${filter.from ?? null}::timestamptz is null or events.occurred_at >= ${filter.from ?? null})
        and (${filter.to ?? null}::timestamptz is null or events.occurred_at < ${filter.to ?? null})
      order by events.ordering_xid, events.position
      limit ${filter.limit ?? 100}`.execute(filter.tx ?? this.#deps.db);
    const last = rows.at(-1);
    const next = last === undefined ? after : { xid: last.xid, position: last.position };
    return { events: rows.map((row) => this.#deps.codec.decode(row)), next: encodeCursor(next), end: next };
  }

  async *iterate(filter: LogFilter = {}): AsyncGenerator<StoredEvent, undefined> {
    let { after } = filter;
    for (;;) {
      const { events, end } = await this.readLog({ ...filter, after });
      if (events.length === 0) return;
      yield* events;
      after = end;
    }
  }
}

type Prepared = Readonly<{
  events: readonly DomainEvent[];
  stream: StreamRef;
  encoded: readonly EncodedEvent[];
  expected: ExpectedVersion;
}>;

/** @returns undefined where there is nothing to append */
function prepare(
  codec: EventCodec,
  given: DomainEvent | readonly DomainEvent[],
  expected: ExpectedVersion = 'any',
): Prepared | undefined {
  const events = Array.isArray(given) ? (given as readonly DomainEvent[]) : [given as DomainEvent];
  const [first] = events;
  if (first === undefined) return undefined;
  const { aggregateId, aggregateType } = first;
  if (events.some((event) => event.aggregateId !== aggregateId || event.aggregateType !== aggregateType)) {
    throw new TypeError('one append writes the events of one aggregate');
  }
  const tenantId = first.metadata?.tenantId ?? 'default';
  const encoded = events.map((event) => codec.encode(event));
  return { events, stream: { aggregateId, aggregateType, tenantId }, encoded, expected };
}

const asStored = ({ events, stream, encoded }: Prepared, appended: readonly Appended[]): readonly StoredEvent[] =>
  events.map((event, index) => ({
    ...event,
    metadata: event.metadata ?? { tenantId: stream.tenantId },
    version: appended[index]?.version ?? 0,
    position: appended[index]?.position ?? '0',
    schemaVersion: encoded[index]?.schemaVersion ?? 1,
  }));

/** Once: by then the other append of the same event has committed, and is found. */
async function again<T>(append: () => Promise<T>): Promise<T> {
  try {
    return await append();
  } catch (error) {
    if (!isAppendedMeanwhile(error)) throw error;
    return await append();
  }
}
