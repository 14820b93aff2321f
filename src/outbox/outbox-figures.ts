// How the outbox is doing, in numbers: what waits, what is dead, what is held up.
import { sql, type RawBuilder } from 'kysely';
import type { Queryable } from '../platform/database.ts';

export type OutboxFigures = Readonly<{
  destination: string;
  pending: number;
  /** Since the oldest pending delivery was stored; 0 where nothing waits. */
  oldestPendingSeconds: number;
  dead: number;
  /** Aggregates whose deliveries wait behind a dead letter. */
  blockedAggregates: number;
  paused: boolean;
}>;

/** Costs what is not published, by index only, and nothing of what is. */
export function figuresStatement(destinations: readonly string[]): RawBuilder<OutboxFigures> {
  return sql<OutboxFigures>`
    select known.destination,
      (select count(*) from outbox o
        where o.destination = known.destination and not o.published and o.state = 'pending')::int as pending,
      coalesce(extract(epoch from clock_timestamp() - (
        select o.created_at from outbox o
        where o.destination = known.destination and not o.published and o.state = 'pending'
        order by o.created_at limit 1)), 0)::float8 as "oldestPendingSeconds",
      (select count(*) from outbox o
        where o.destination = known.destination and not o.published and o.state = 'dead')::int as dead,
      (select count(*) from outbox_lanes lane
        where lane.destination = known.destination and lane.due_at = 'infinity')::int as "blockedAggregates",
      exists (select from outbox_destinations held
        where held.destination = known.destination and held.paused) as paused
    from unnest(${destinations}::text[]) as known(destination)`;
}

/**
 * Of all destinations whose names begin so, together: there may be any number of them. Costs what is not published.
 * @param label what to call them; `paused`: one of them is
 */
export async function readFoldedFigures(
  db: Queryable,
  { prefix, label }: Readonly<{ prefix: string; label: string }>,
): Promise<OutboxFigures> {
  const { rows } = await sql<OutboxFigures>`
    select ${label} as destination,
      count(*) filter (where o.state = 'pending')::int as pending,
      coalesce(extract(epoch from clock_timestamp() - min(o.created_at) filter (where o.state = 'pending')), 0)::float8
        as "oldestPendingSeconds",
      count(*) filter (where o.state = 'dead')::int as dead,
      (select count(*) from outbox_lanes lane
        where lane.destination > ${prefix} and starts_with(lane.destination, ${prefix})
          and lane.due_at = 'infinity')::int as "blockedAggregates",
      exists (select from outbox_destinations held where starts_with(held.destination, ${prefix}) and held.paused) as paused
    from outbox o
    where not o.published and o.destination > ${prefix} and starts_with(o.destination, ${prefix})`.execute(db);
  const [figures] = rows;
  if (figures === undefined) throw new Error('an aggregate has a row');
  return figures;
}

/** One for each destination, in their order. */
export async function readOutboxFigures(
  db: Queryable,
  destinations: readonly string[],
): Promise<readonly OutboxFigures[]> {
  return (await figuresStatement(destinations).execute(db)).rows;
}
