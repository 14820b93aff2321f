// Counters that are exact: stepped in the handler's own transaction, so once per event, whatever is repeated or dies.
import { sql } from 'kysely';
import type { Queryable, Tx } from '../platform/database.ts';

/** As /metrics shows them. */
export const eventCounters = {
  users_created_total: 'Users that were created, by tenant; exact, over restarts and all processes.',
  orders_submitted_total: 'Orders that were submitted, by tenant; exact, over restarts and all processes.',
} as const;
export type EventCounter = keyof typeof eventCounters;

export type EventCount = Readonly<{ name: EventCounter; tenant: string; value: number }>;

/**
 * Tenants are named by clients, and a metric must not grow with them: those that came first have a label of their own, for
 * ever, so that no series ever falls; all others are `other` together. Two that come at once may be one more than this.
 */
export const mostTenants = 50;
const others = 'other';
/** A row is locked until its handler's commit: connections that count at the same time mostly have one each. */
const shards = 16;

/** One more; there when `tx` commits, and never was when it rolls back. */
export async function countOne(tx: Tx, name: EventCounter, tenantId: string): Promise<void> {
  await sql`
    insert into event_counters (name, tenant_id, shard, value)
    select ${name},
      case when exists (select from event_counters where name = ${name} and tenant_id = ${tenantId})
          or (select count(distinct tenant_id) from event_counters where name = ${name}) < ${mostTenants}::int
        then ${tenantId} else ${others} end,
      pg_backend_pid() % ${shards}::int, 1
    on conflict (name, tenant_id, shard) do update set value = event_counters.value + 1`.execute(tx);
}

/** What is committed. At most a thousand rows or so are read for each counter. */
export async function readEventCounters(db: Queryable): Promise<readonly EventCount[]> {
  const rows = await db
    .selectFrom('event_counters')
    .select(({ fn }) => ['name', 'tenant_id as tenant', fn.sum<string>('value').as('value')])
    .groupBy(['name', 'tenant_id'])
    .execute();
  return rows.map(({ name, tenant, value }) => ({ name: name as EventCounter, tenant, value: Number(value) }));
}
