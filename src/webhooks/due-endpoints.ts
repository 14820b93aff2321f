// Which endpoints have something to be delivered: one index look-up for each that has anything undone.
import { sql, type RawBuilder } from 'kysely';
import { mendLanes } from '../outbox/lanes.ts';
import type { Db } from '../platform/database.ts';
import { endpointIdOf, webhookPrefix } from './destination.ts';
import { removeDeliveries } from './endpoint-deliveries.ts';

export type DueEndpoint = Readonly<{ id: string; destination: string }>;

/** Those with a delivery that may go now: open, not throttled, not held by an operator. In a fixed order. */
export async function findDueEndpoints(db: Db): Promise<readonly DueEndpoint[]> {
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
  const due: DueEndpoint[] = [];
  for (const { destination, known } of rows) {
    const id = endpointIdOf(destination);
    if (id === undefined) continue;
    if (known) due.push({ id, destination });
    // A walk over the lanes had found it as it was deleted, and has written a lane again.
    else await db.transaction().execute(async (tx) => await removeDeliveries(tx, destination));
  }
  return due;
}

/** By cases, since a text that is no UUID would end the statement. */
const idIn = (destination: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  case when ${destination} ~ ${`^${webhookPrefix}[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`}
    then substr(${destination}, ${webhookPrefix.length + 1}::int)::uuid end`;

const lanesPerWalk = 1_000;

/** As each relay does for its own destination: wakes lanes that do not fit their rows. @returns how many */
export async function mendEndpointLanes(db: Db): Promise<number> {
  const nextAfter = (destination: unknown) => sql`
    (select undone.destination from outbox undone
      where not undone.published and undone.destination > ${destination}
      order by undone.destination limit 1)`;
  const { rows } = await sql<{ destination: string }>`
    with recursive found as (
      select ${nextAfter(webhookPrefix)} as destination
      union all
      select ${nextAfter(sql`found.destination`)} from found where found.destination is not null
    )
    select destination from found where starts_with(destination, ${webhookPrefix})`.execute(db);
  let total = 0;
  for (const { destination } of rows) {
    let after = '';
    do {
      const walk = { destination, blockedByDead: false, after, limit: lanesPerWalk };
      const { mended, next } = await mendLanes(db, walk);
      total += mended;
      after = next;
    } while (after !== '');
  }
  return total;
}
