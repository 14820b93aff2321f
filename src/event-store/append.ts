// The append: stream version, events, outbox rows and lanes in one statement, so in one round trip and all or nothing.
import { sql, type RawBuilder } from 'kysely';
import { ConflictError } from '../domain/errors.ts';
import { isUniqueViolation, type Queryable } from '../platform/database.ts';
import type { EncodedEvent } from './event-codec.ts';

/** A number is the version of the last event that the writer has seen; 0 is the same as `none`. */
export type ExpectedVersion = number | 'none' | 'exists' | 'any';

export type StreamRef = Readonly<{ aggregateId: string; aggregateType: string; tenantId: string }>;
export type Appended = Readonly<{ version: number; position: string }>;

/** Event type → the destinations that each of its events is delivered to. The one routing table. */
export type Routes = Readonly<Record<string, readonly string[]>>;

/**
 * Appends within the caller's transaction (or as a transaction of its own when `db` is none).
 * The same event ids again with the same content are a success and change nothing.
 * @returns versions and positions in the events' order
 * @throws ConflictError with the actual version; the transaction stays usable. See also `isAppendedMeanwhile`
 */
export async function appendEvents(
  db: Queryable,
  routes: Routes,
  stream: StreamRef,
  events: readonly EncodedEvent[],
  expected: ExpectedVersion,
): Promise<readonly Appended[]> {
  const ids = events.map((event) => event.id);
  const stored = await sql<Appended>`
    with given as (
      select * from unnest(
        ${ids}::uuid[],
        ${events.map((event) => event.eventType)}::text[],
        ${events.map((event) => event.payload)}::text[],
        ${events.map((event) => event.metadata)}::text[],
        ${events.map((event) => event.schemaVersion)}::int[],
        ${events.map((event) => event.occurredAt)}::timestamptz[]
      ) with ordinality as given (id, event_type, payload, metadata, schema_version, occurred_at, n)
    ),
    stream as (${lockStream(stream, ids, events.length, expected)}),
    stored as (
      insert into events (id, event_type, aggregate_id, aggregate_type, version, payload, metadata,
                          schema_version, tenant_id, occurred_at, ordering_xid)
      select given.id, given.event_type, ${stream.aggregateId}, ${stream.aggregateType},
             stream.version - ${events.length}::int + given.n::int, given.payload::jsonb, given.metadata::jsonb,
             given.schema_version, ${stream.tenantId}, given.occurred_at, stream.last_xid
      from given, stream
      order by given.n
      returning *
    ),
    deliveries as (${insertDeliveries(routes, events)}),
    lanes as (${wakeLanes(
      routes,
      events.map(({ eventType }) => ({ eventType, aggregateId: stream.aggregateId })),
    )})
    select stored.version, stored.position::text as position from stored order by stored.version`.execute(db);
  if (stored.rows.length > 0) return stored.rows;
  return await explainNothingStored(db, stream, events, expected);
}

/** For a statement that has the new events' rows as `stored`: one outbox row per event and destination. */
export function insertDeliveries(
  routes: Routes,
  events: readonly Pick<EncodedEvent, 'id' | 'eventType'>[],
): RawBuilder<unknown> {
  const deliveries = events.flatMap((event) =>
    (routes[event.eventType] ?? []).map((destination) => ({ id: event.id, destination })),
  );
  return sql`
      insert into outbox (id, destination, event_type, aggregate_id, aggregate_type, version, payload, metadata,
                          schema_version, occurred_at, position)
      select stored.id, route.destination, stored.event_type, stored.aggregate_id, stored.aggregate_type,
             stored.version, stored.payload, stored.metadata, stored.schema_version, stored.occurred_at,
             stored.position
      from unnest(${deliveries.map((d) => d.id)}::uuid[], ${deliveries.map((d) => d.destination)}::text[])
             as route (id, destination)
      join stored on stored.id = route.id`;
}

/**
 * Two transactions appended the same event at the same time, and this one came second. It is lost; run again, the append
 * finds the other's event and is a success.
 */
export const isAppendedMeanwhile = (error: unknown): boolean => isUniqueViolation(error, 'events_pkey');

/**
 * The stream row's lock serialises the appends of one aggregate. The ordering xid is the greater of this transaction's
 * and the stream's last: a writer that took its xid early would otherwise sort behind what it comes after.
 */
function lockStream(
  stream: StreamRef,
  ids: readonly string[],
  count: number,
  expected: ExpectedVersion,
): RawBuilder<unknown> {
  const unlessRepeated = sql`not exists (select from events where id = any(${ids}::uuid[]))`;
  const insert = sql`
    insert into streams (aggregate_id, aggregate_type, tenant_id, version, last_xid)
    select ${stream.aggregateId}, ${stream.aggregateType}, ${stream.tenantId}, ${count}::int, pg_current_xact_id()
    where ${unlessRepeated}`;
  const same = sql`streams.aggregate_type = ${stream.aggregateType} and streams.tenant_id = ${stream.tenantId}`;
  const advance = sql`version = streams.version + ${count}::int,
    last_xid = greatest(streams.last_xid, pg_current_xact_id())`;
  if (expected === 'none' || expected === 0) {
    return sql`${insert} on conflict do nothing returning version, last_xid`;
  }
  if (expected === 'any') {
    return sql`${insert} on conflict (aggregate_id) do update set ${advance} where ${same} returning version, last_xid`;
  }
  const atVersion = expected === 'exists' ? sql`true` : sql`streams.version = ${expected}::int`;
  return sql`update streams set ${advance}
    where aggregate_id = ${stream.aggregateId} and ${same} and ${atVersion} and ${unlessRepeated}
    returning version, last_xid`;
}

/**
 * For the same statement: the lanes of what was stored. An empty lane is due at once. One that is not keeps its time:
 * what stands before the new events holds them up, too. `changes` makes a relay that read the lane's rows before this
 * commit read them again (src/outbox/lanes.ts). Always by aggregate and destination, so that two appends lock their
 * lanes in the same order; their streams are locked already.
 */
export function wakeLanes(
  routes: Routes,
  events: readonly Readonly<{ eventType: string; aggregateId: string }>[],
): RawBuilder<unknown> {
  const pairs = events.flatMap(({ eventType, aggregateId }) =>
    (routes[eventType] ?? []).map(
      (destination) => [JSON.stringify([aggregateId, destination]), { aggregateId, destination }] as const,
    ),
  );
  const lanes = [...new Map(pairs.toSorted(([one], [other]) => (one < other ? -1 : 1))).values()];
  return sql`
      insert into outbox_lanes as lane (destination, aggregate_id, due_at)
      select destination, aggregate_id, now()
      from unnest(
        ${lanes.map(({ destination }) => destination)}::text[],
        ${lanes.map(({ aggregateId }) => aggregateId)}::text[]
      ) with ordinality as route (destination, aggregate_id, n)
      where exists (select from stored)
      order by n
      on conflict (destination, aggregate_id)
        do update set changes = lane.changes + 1, due_at = coalesce(lane.due_at, excluded.due_at)`;
}

/** Nothing was stored: either all of it was there before, or somebody else wrote first. */
export async function explainNothingStored(
  db: Queryable,
  stream: StreamRef,
  events: readonly EncodedEvent[],
  expected: ExpectedVersion,
): Promise<readonly Appended[]> {
  const there = await sql<Appended & { same: boolean }>`
    select events.version, events.position::text as position,
           events.aggregate_id = ${stream.aggregateId} and events.event_type = given.event_type
             and events.payload = given.payload::jsonb as same
    from unnest(${events.map((event) => event.id)}::uuid[], ${events.map((event) => event.eventType)}::text[],
                ${events.map((event) => event.payload)}::text[]) as given (id, event_type, payload)
    join events on events.id = given.id
    order by events.version`.execute(db);
  if (there.rows.some((row) => !row.same) || (there.rows.length > 0 && there.rows.length < events.length)) {
    throw new ConflictError(`an event of this append is stored already, with other content or without the rest`);
  }
  if (there.rows.length > 0) return there.rows;
  const actual = await db
    .selectFrom('streams')
    .select(['version', 'aggregate_type', 'tenant_id'])
    .where('aggregate_id', '=', stream.aggregateId)
    .executeTakeFirst();
  if (
    actual !== undefined &&
    (actual.aggregate_type !== stream.aggregateType || actual.tenant_id !== stream.tenantId)
  ) {
    throw new ConflictError(`${stream.aggregateId} is a stream of another type or tenant`, actual.version);
  }
  const version = actual?.version ?? 0;
  throw new ConflictError(`${stream.aggregateId} is at version ${version}, expected was ${expected}`, version);
}
