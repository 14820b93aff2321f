// Which endpoints have something to be delivered: one index look-up for each that has anything undone.
import { sql, type RawBuilder } from 'kysely';
import { mendLanes } from '../outbox/lanes.ts';
import type { Db } from '../platform/database.ts';
import { endpointIdOf, webhookPrefix } from './destination.ts';

export type DueEndpoint = Readonly<{ id: string; destination: string }>;
export type DueEndpoints = Readonly<{
  /** Those with a delivery that may go now: open, not throttled, not held by an operator. In a fixed order. */
  due: readonly DueEndpoint[];
  /** Destinations of endpoints that are gone: a walk over the lanes had found one as it was deleted, and wrote it again. */
  gone: readonly string[];
}>;

export async function findDueEndpoints(db: Db): Promise<DueEndpoints> {
  const nextAfter = (destination: unknown) => sql`
    (select lane.destination from outbox_lanes lane
      where lane.due_at is not null and lane.destination > ${destination}
      order by lane.destination limit 1)`;
  const { rows } = await sql<{ destination: string; known: boolean }>`
    with recursive undone as (
      select ${nextAfter(webhookPrefix)} as destination
      union all
      select ${nextAfter(sql`undone.destination`)} from undone where undone.destination is not null
    )
    select undone.destination, endpoint.id is not null as known
    from undone
    left join webhook_endpoints endpoint on endpoint.id = ${idIn(sql`undone.destination`)}
    where starts_with(undone.destination, ${webhookPrefix})
      and (endpoint.id is null or (endpoint.disabled_at is null
        and coalesce(endpoint.throttled_until <= now(), true)
        and not exists (select from outbox_destinations held where held.destination = undone.destination and held.paused)
        and exists (select from outbox_lanes lane where lane.destination = undone.destination and lane.due_at <= now())))
    order by undone.destination`.execute(db);
  const found = rows.flatMap(({ destination, known }) => {
    const id = endpointIdOf(destination);
    return id === undefined ? [] : [{ id, destination, known }];
  });
  return {
    due: found.filter(({ known }) => known).map(({ id, destination }) => ({ id, destination })),
    gone: found.filter(({ known }) => !known).map(({ destination }) => destination),
  };
}

/** By cases, since a text that is no UUID would end the statement. */
const idIn = (destination: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  case when ${destination} ~ ${`^${webhookPrefix}[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`}
    then substr(${destination}, ${webhookPrefix.length + 1}::int)::uuid end`;

const lanesPerWalk = 1_000;

/** Where a walk goes on: behind this aggregate, or where it is '' behind this destination. */
export type MendCursor = Readonly<{ destination: string; after: string }>;
export const mendFromStart: MendCursor = { destination: webhookPrefix, after: '' };

/**
 * As each relay does for its own destination: wakes lanes that do not fit their rows. One endpoint, and no more than a
 * thousand aggregates, so that however much waits, what is due does not wait for this.
 * @returns how many, and where to go on
 */
export async function mendEndpointLanes(
  db: Db,
  { destination, after }: MendCursor,
): Promise<Readonly<{ mended: number; next: MendCursor }>> {
  const walked = after === '' ? await undoneAfter(db, destination) : destination;
  if (walked === undefined) return { mended: 0, next: mendFromStart };
  const walk = { destination: walked, blockedByDead: false, after, limit: lanesPerWalk };
  const { mended, next } = await mendLanes(db, walk);
  return { mended, next: { destination: walked, after: next } };
}

/** The next endpoint with something undone. */
async function undoneAfter(db: Db, destination: string): Promise<string | undefined> {
  const { rows } = await sql<{ destination: string }>`
    select destination from outbox
    where not published and destination > ${destination} and starts_with(destination, ${webhookPrefix})
    order by destination limit 1`.execute(db);
  return rows[0]?.destination;
}
