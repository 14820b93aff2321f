// One transaction that writes several streams: all of them are locked first, in id order, and all its events get one
// ordering xid, the greatest. So writers of the same streams never lock each other out, and a reader of the log sees
// what happened together together.
import { sql } from 'kysely';
import { ConflictError } from '../domain/errors.ts';
import type { Queryable, Tx } from '../platform/database.ts';
import {
  explainNothingStored,
  insertDeliveries,
  wakeLanes,
  type Appended,
  type ExpectedVersion,
  type Routes,
  type StreamRef,
} from './append.ts';
import type { EncodedEvent } from './event-codec.ts';

export type StreamAppend = Readonly<{
  stream: StreamRef;
  events: readonly EncodedEvent[];
  expected: ExpectedVersion;
}>;

type LockedStream = Readonly<{ id: string; version: number; xid: string }>;

/**
 * In two round trips, however many streams. All or none: a conflict of one stream leaves the others as they were.
 * The same appends again are a success and change nothing. Each stream may be named once.
 * @returns for each append, in its place, the versions and positions in the events' order
 * @throws ConflictError with the actual version; the transaction stays usable. See also `isAppendedMeanwhile`
 */
export async function appendToAll(
  tx: Tx,
  routes: Routes,
  appends: readonly StreamAppend[],
): Promise<readonly (readonly Appended[])[]> {
  const locked = await lockStreams(tx, appends);
  const isAsExpected = ({ stream, events, expected }: StreamAppend): boolean => {
    const row = locked.get(stream.aggregateId);
    return row !== undefined && meets(row.version - events.length, expected);
  };
  if (appends.every(isAsExpected)) return await store(tx, routes, appends, locked);
  await giveBack(tx, appends, locked);
  return await explain(tx, appends, isAsExpected);
}

function meets(version: number, expected: ExpectedVersion): boolean {
  if (expected === 'any') return true;
  if (expected === 'exists') return version > 0;
  return version === (expected === 'none' ? 0 : expected);
}

/**
 * Locks and advances. A stream that must exist is not made; one of another type or tenant is locked and left alone.
 * Collation "C" is one order on every machine and in every database.
 */
async function lockStreams(tx: Tx, appends: readonly StreamAppend[]): Promise<ReadonlyMap<string, LockedStream>> {
  const ids = appends.flatMap(({ events }) => events.map((event) => event.id));
  const { rows } = await sql<LockedStream>`
    insert into streams (aggregate_id, aggregate_type, tenant_id, version, last_xid)
    select given.aggregate_id, given.aggregate_type, given.tenant_id, given.count, pg_current_xact_id()
    from unnest(
      ${appends.map(({ stream }) => stream.aggregateId)}::text[],
      ${appends.map(({ stream }) => stream.aggregateType)}::text[],
      ${appends.map(({ stream }) => stream.tenantId)}::text[],
      ${appends.map(({ events }) => events.length)}::int[],
      ${appends.map(({ expected }) => ['any', 'none', 0].includes(expected))}::boolean[]
    ) as given (aggregate_id, aggregate_type, tenant_id, count, may_be_new)
    where not exists (select from events where id = any(${ids}::uuid[]))
      and (given.may_be_new or exists (select from streams where streams.aggregate_id = given.aggregate_id))
    order by given.aggregate_id collate "C"
    on conflict (aggregate_id) do update
      set version = streams.version + excluded.version, last_xid = greatest(streams.last_xid, pg_current_xact_id())
      where streams.aggregate_type = excluded.aggregate_type and streams.tenant_id = excluded.tenant_id
    returning aggregate_id as id, version, last_xid::text as xid`.execute(tx);
  return new Map(rows.map((row) => [row.id, row]));
}

/**
 * Every stream remembers the common xid, so that whoever appends to one of them next does not sort before it. While
 * this transaction is open the readers' horizon is at or below its own xid, so nobody has read past a borrowed one.
 */
async function store(
  tx: Tx,
  routes: Routes,
  appends: readonly StreamAppend[],
  locked: ReadonlyMap<string, LockedStream>,
): Promise<readonly (readonly Appended[])[]> {
  const xid = [...locked.values()].reduce((most, row) => (BigInt(row.xid) > most ? BigInt(row.xid) : most), 0n);
  const rows = appends.flatMap(({ stream, events }) => {
    const end = locked.get(stream.aggregateId)?.version ?? 0;
    return events.map((event, index) => ({ ...event, ...stream, version: end - events.length + index + 1 }));
  });
  const stored = await sql<Appended & { id: string }>`
    with given as (
      select * from unnest(
        ${rows.map((row) => row.id)}::uuid[],
        ${rows.map((row) => row.eventType)}::text[],
        ${rows.map((row) => row.aggregateId)}::text[],
        ${rows.map((row) => row.aggregateType)}::text[],
        ${rows.map((row) => row.version)}::int[],
        ${rows.map((row) => row.payload)}::text[],
        ${rows.map((row) => row.metadata)}::text[],
        ${rows.map((row) => row.schemaVersion)}::int[],
        ${rows.map((row) => row.tenantId)}::text[],
        ${rows.map((row) => row.occurredAt)}::timestamptz[]
      ) with ordinality as given (id, event_type, aggregate_id, aggregate_type, version, payload, metadata,
                                  schema_version, tenant_id, occurred_at, n)
    ),
    raised as (
      update streams set last_xid = ${String(xid)}::xid8
      where aggregate_id = any(${[...locked.keys()]}::text[]) and last_xid < ${String(xid)}::xid8
    ),
    stored as (
      insert into events (id, event_type, aggregate_id, aggregate_type, version, payload, metadata,
                          schema_version, tenant_id, occurred_at, ordering_xid)
      select id, event_type, aggregate_id, aggregate_type, version, payload::jsonb, metadata::jsonb,
             schema_version, tenant_id, occurred_at, ${String(xid)}::xid8
      from given order by n
      returning *
    ),
    deliveries as (${insertDeliveries(routes, rows)}),
    lanes as (${wakeLanes(routes, rows)})
    select stored.id, stored.version, stored.position::text as position from stored`.execute(tx);
  const placeOf = new Map(stored.rows.map(({ id, version, position }) => [id, { version, position }]));
  return appends.map(({ events }) =>
    events.map((event) => {
      const place = placeOf.get(event.id);
      if (place === undefined) throw new Error(`event ${event.id} was not stored`);
      return place;
    }),
  );
}

/** Events are only stored once all streams fit, so there is only the advance to take back. */
async function giveBack(
  tx: Tx,
  appends: readonly StreamAppend[],
  locked: ReadonlyMap<string, LockedStream>,
): Promise<void> {
  const advanced = appends.flatMap(({ stream, events }) => {
    const row = locked.get(stream.aggregateId);
    return row === undefined ? [] : [{ id: row.id, version: row.version - events.length }];
  });
  if (advanced.length === 0) return;
  await sql`
    with given as (
      select * from unnest(${advanced.map((row) => row.id)}::text[], ${advanced.map((row) => row.version)}::int[])
        as given (id, version)
    ),
    unmade as (
      delete from streams using given where streams.aggregate_id = given.id and given.version = 0
    )
    update streams set version = given.version from given
    where streams.aggregate_id = given.id and given.version > 0`.execute(tx);
}

/** Either all of it was there before, or somebody else wrote first. */
async function explain(
  db: Queryable,
  appends: readonly StreamAppend[],
  isAsExpected: (append: StreamAppend) => boolean,
): Promise<readonly (readonly Appended[])[]> {
  const ids = appends.flatMap(({ events }) => events.map((event) => event.id));
  const { rows } = await sql`select from events where id = any(${ids}::uuid[])`.execute(db);
  if (rows.length > 0 && rows.length < ids.length) {
    throw new ConflictError('an event of this append is stored already, without the rest');
  }
  const found: (readonly Appended[])[] = [];
  // Nothing stored: only a stream that is not as expected can say why.
  for (const append of rows.length > 0 ? appends : appends.filter((each) => !isAsExpected(each))) {
    found.push(await explainNothingStored(db, append.stream, append.events, append.expected));
  }
  return found;
}
