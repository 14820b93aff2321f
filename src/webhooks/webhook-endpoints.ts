// The endpoints of a tenant: made, found, changed, deleted with what waits for them. Times are the database's.
import { sql } from 'kysely';
import type { Db, Queryable, Tx } from '../platform/database.ts';
import { destinationOfEndpoint } from './destination.ts';
import { removeDeliveries, restartDeliveries } from './endpoint-deliveries.ts';

export type WebhookEndpoint = Readonly<{
  id: string;
  url: string;
  /** Integration event types, or `*` for all. */
  events: readonly string[];
  createdAt: Date;
  disabledAt: Date | null;
  disabledReason: string | null;
  /** Of one that is disabled: events from then on are not kept for it. */
  collectsUntil: Date | null;
  /** It has asked for a pause. */
  throttledUntil: Date | null;
  lastSuccessAt: Date | null;
  lastFailureAt: Date | null;
  lastFailure: string | null;
}>;

export type NewEndpoint = Readonly<{ id: string; url: string; events: readonly string[]; secret: string }>;
/** `command`: the key of the command, where it has one; see `rotateSecret`. */
export type Rotation = Readonly<{ secret: string; overlapSeconds: number; command: string | undefined }>;

export type WebhookEndpoints = Readonly<{
  /** @returns the secret it has: that of the first call, where one with this id is there already */
  create(tenantId: string, endpoint: NewEndpoint): Promise<string>;
  find(tenantId: string, id: string): Promise<WebhookEndpoint | undefined>;
  /** Oldest first. */
  list(tenantId: string): Promise<readonly WebhookEndpoint[]>;
  /**
   * With its undone deliveries, in one transaction. One that is under way ends, and finds its row gone.
   * @returns false where the tenant has no such endpoint
   */
  remove(tenantId: string, id: string): Promise<boolean>;
  /**
   * The new secret signs at once, the one before it goes on signing for `overlapSeconds`. The same command again changes
   * nothing. @returns the secret that the command has set; undefined where the tenant has no such endpoint
   */
  rotateSecret(tenantId: string, id: string, rotation: Rotation): Promise<string | undefined>;
  /** Also takes a pause back that it asked for; what waits is tried now, in order, with its attempts from the start. */
  enable(tenantId: string, id: string): Promise<WebhookEndpoint | undefined>;
}>;

/** So long a disabled endpoint's events are kept for it. What was kept stays until it is enabled, or deleted. */
const collectDays = 7;

const columns = sql`
  endpoint.id, endpoint.url, endpoint.events, endpoint.created_at as "createdAt", endpoint.disabled_at as "disabledAt",
  endpoint.disabled_reason as "disabledReason",
  endpoint.disabled_at + make_interval(days => ${collectDays}) as "collectsUntil",
  case when endpoint.throttled_until > now() then endpoint.throttled_until end as "throttledUntil",
  endpoint.last_success_at as "lastSuccessAt", endpoint.last_failure_at as "lastFailureAt",
  endpoint.last_failure as "lastFailure"`;

export function createWebhookEndpoints(db: Db): WebhookEndpoints {
  return {
    create: async (tenantId, endpoint) =>
      await db.transaction().execute(async (tx) => await insert(tx, tenantId, endpoint)),
    find: async (tenantId, id) => await find(db, tenantId, id),
    async list(tenantId) {
      const { rows } = await sql<WebhookEndpoint>`
        select ${columns} from webhook_endpoints endpoint where endpoint.tenant_id = ${tenantId}
        order by endpoint.id`.execute(db);
      return rows;
    },
    remove: async (tenantId, id) =>
      await db.transaction().execute(async (tx) => {
        // Waits for whoever is just writing deliveries to it, see `endpointsFor`; after this nobody does.
        const deleted = await tx
          .deleteFrom('webhook_endpoints')
          .where('tenant_id', '=', tenantId)
          .where('id', '=', id)
          .executeTakeFirstOrThrow();
        if (deleted.numDeletedRows === 0n) return false;
        await removeDeliveries(tx, destinationOfEndpoint(id));
        return true;
      }),
    rotateSecret: async (tenantId, id, rotation) =>
      await db.transaction().execute(async (tx) => await rotate(tx, tenantId, id, rotation)),
    async enable(tenantId, id) {
      const updated = await sql`
        update webhook_endpoints
        set disabled_at = null, disabled_reason = null, throttled_until = null, failing_since = null
        where tenant_id = ${tenantId} and id = ${id}::uuid`.execute(db);
      if (updated.numAffectedRows === 0n) return undefined;
      // Dying before this leaves them to their own times; enabling it again is all it takes.
      await restartDeliveries(db, destinationOfEndpoint(id));
      return await find(db, tenantId, id);
    },
  };
}

async function find(db: Queryable, tenantId: string, id: string): Promise<WebhookEndpoint | undefined> {
  const { rows } = await sql<WebhookEndpoint>`
    select ${columns} from webhook_endpoints endpoint
    where endpoint.tenant_id = ${tenantId} and endpoint.id = ${id}::uuid`.execute(db);
  return rows[0];
}

async function insert(tx: Tx, tenantId: string, { id, url, events, secret }: NewEndpoint): Promise<string> {
  const { rows } = await sql`
    insert into webhook_endpoints (id, tenant_id, url, events)
    values (${id}::uuid, ${tenantId}, ${url}, ${events}::text[])
    on conflict (id) do nothing returning id`.execute(tx);
  if (rows.length > 0) {
    await tx
      .insertInto('webhook_secrets')
      .values({ endpoint_id: id, secret, made_by: null, signs_until: null })
      .execute();
    return secret;
  }
  // The id is derived from tenant and key, so this is the same command, whose answer was lost.
  const first = await tx
    .selectFrom('webhook_secrets')
    .select('secret')
    .where('endpoint_id', '=', id)
    .orderBy('created_at')
    .limit(1)
    .executeTakeFirstOrThrow();
  return first.secret;
}

async function rotate(
  tx: Tx,
  tenantId: string,
  id: string,
  { secret, overlapSeconds, command }: Rotation,
): Promise<string | undefined> {
  // Rotations of one endpoint go one after the other.
  const { rows } = await sql`
    select id from webhook_endpoints where tenant_id = ${tenantId} and id = ${id}::uuid for no key update`.execute(tx);
  if (rows.length === 0) return undefined;
  const secrets = tx.selectFrom('webhook_secrets').select('secret').where('endpoint_id', '=', id);
  const done = command === undefined ? undefined : await secrets.where('made_by', '=', command).executeTakeFirst();
  if (done !== undefined) return done.secret;
  await sql`delete from webhook_secrets where endpoint_id = ${id}::uuid and signs_until <= now()`.execute(tx);
  await sql`
    update webhook_secrets set signs_until = least(signs_until, now() + make_interval(secs => ${overlapSeconds}))
    where endpoint_id = ${id}::uuid`.execute(tx);
  await sql`
    insert into webhook_secrets (endpoint_id, secret, made_by) values (${id}::uuid, ${secret}, ${command ?? null})
    on conflict (endpoint_id, secret) do update
      set signs_until = null, made_by = excluded.made_by, created_at = excluded.created_at`.execute(tx);
  return secret;
}

/**
 * The destinations that an event is to be delivered to, in the order of their ids. Their rows are held until the end of
 * the transaction, so that an endpoint which is deleted meanwhile takes these deliveries with it.
 */
export async function endpointsFor(
  tx: Tx,
  { tenantId, eventType }: Readonly<{ tenantId: string; eventType: string }>,
): Promise<readonly string[]> {
  const { rows } = await sql<{ id: string }>`
    select id from webhook_endpoints
    where tenant_id = ${tenantId} and events && ${[eventType, '*']}::text[]
      and (disabled_at is null or disabled_at > now() - make_interval(days => ${collectDays}))
    order by id for key share`.execute(tx);
  return rows.map(({ id }) => destinationOfEndpoint(id));
}
