// Deliveries and runs that need a person: events without an outbox row, dead letters, parked sagas. Only reported: a
// dead letter's cause must be mended first, a parked saga waits for a decision, and a row that is missing was deleted.
import { sql } from 'kysely';
import type { Routes } from '../event-store/append.ts';
import type { Db } from '../platform/database.ts';
import type { SagaRuns } from '../sagas/saga-runs.ts';
import { webhookPrefix } from '../webhooks/destination.ts';
import { inPages, type Comparison, type Difference, type Scope } from './difference.ts';

export type DeliveryComparisonDeps = Readonly<{ db: Db; routes: Routes; runs: SagaRuns }>;

/** A done delivery's row is kept for 72 hours (src/outbox/clean-up.ts), so a younger event has all of its rows. */
const keptHours = 71;

export const compareDeliveries = ({ db, routes }: Omit<DeliveryComparisonDeps, 'runs'>): Comparison =>
  async function* find(scope) {
    yield* findMissing(db, routes, scope);
    yield* findDead(db, scope);
  };

export const compareAttention = ({ runs }: Pick<DeliveryComparisonDeps, 'runs'>): Comparison =>
  async function* find(scope) {
    scope.onPage();
    for (const workflowId of await runs.openWithStatus('NeedsAttention')) {
      yield {
        kind: 'needs-attention',
        ids: { workflow: workflowId },
        is: 'its run is parked: a step keeps failing',
        right: 'a person looks at the run in the Web UI and decides',
      };
    }
  };

type DeliveryRow = Readonly<{
  key: string;
  eventId: string;
  destination: string;
  eventType: string;
  aggregateId: string;
  tenantId: string;
  error: string | null;
}>;

async function* findMissing(db: Db, routes: Routes, scope: Scope): AsyncGenerator<Difference> {
  const pairs = Object.entries(routes).flatMap(([type, destinations]) => destinations.map((to) => [type, to] as const));
  const hours = Math.min(keptHours, scope.sinceHours ?? keptHours);
  const pages = inPages(scope, '0', async (after, limit) => {
    const { rows } = await sql<DeliveryRow>`
      select events.position::text as key, events.id as "eventId", events.event_type as "eventType",
        string_agg(route.destination, ' and ' order by route.destination) as destination,
        events.aggregate_id as "aggregateId", events.tenant_id as "tenantId", null as error
      from events join unnest(${pairs.map(([type]) => type)}::text[], ${pairs.map(([, to]) => to)}::text[])
        as route (event_type, destination) using (event_type)
      where events.position > ${after}::bigint
        and events.occurred_at > now() - make_interval(hours => ${hours}::int)
        and events.created_at > now() - make_interval(hours => ${hours}::int)
        and not exists (
          select from outbox where outbox.id = events.id and outbox.destination = route.destination)
      group by events.position, events.id
      order by events.position
      limit ${limit}`.execute(db);
    return rows;
  });
  for await (const page of pages) {
    for (const row of page) {
      const is = `${row.eventType} was stored without a delivery to ${row.destination}, or somebody has deleted it`;
      yield { kind: 'delivery-missing', ids: idsOf(row), is, right: 'every event has one for each of its routes' };
    }
  }
}

/** Not those of webhooks: what a receiver refuses is for its owner, who finds it at the endpoint. */
async function* findDead(db: Db, scope: Scope): AsyncGenerator<Difference> {
  const pages = inPages(scope, '', async (after, limit) => {
    const { rows } = await sql<DeliveryRow>`
      select outbox.id || ' ' || destination as key, outbox.id as "eventId", destination,
        event_type as "eventType", aggregate_id as "aggregateId", metadata ->> 'tenantId' as "tenantId",
        last_error as error
      from outbox
      where state = 'dead' and not published and not starts_with(destination, ${webhookPrefix})
        and outbox.id || ' ' || destination > ${after}
      order by outbox.id || ' ' || destination
      limit ${limit}`.execute(db);
    return rows;
  });
  for await (const page of pages) {
    for (const row of page) {
      const is = `${row.eventType} is a dead letter of ${row.destination}: ${row.error ?? 'no reason is noted'}`;
      yield { kind: 'dead-letter', ids: idsOf(row), is, right: 'sent again, once its cause is mended' };
    }
  }
}

const idsOf = ({ eventId, destination, aggregateId, tenantId }: DeliveryRow): Readonly<Record<string, string>> => ({
  event: eventId,
  destination,
  aggregate: aggregateId,
  tenant: tenantId,
});
