// What a delivery asks of an endpoint, and notes about it: its secrets, whether it is open, how it has done lately.
import { sql } from 'kysely';
import type { Queryable } from '../platform/database.ts';

export type EndpointState = Readonly<{
  url: string;
  disabled: boolean;
  /** Until it may be called again; 0 where it may. */
  throttledMilliseconds: number;
  /** The current one first; more while the one before it still signs. */
  secrets: readonly string[];
}>;

/** After so long of nothing but failures an endpoint is disabled: nobody is behind it any more. */
const mostFailingDays = 5;
/** Longer than the longest wait between two attempts: after that a failure is the first of its kind. */
const unrelatedHours = 36;
/** A success is noted again after so long; a failure between them is seen at once. */
const noteSeconds = 10;

export async function readEndpointState(db: Queryable, id: string): Promise<EndpointState | undefined> {
  const { rows } = await sql<EndpointState>`
    select url, disabled_at is not null as disabled,
      greatest(0, ceil(extract(epoch from coalesce(throttled_until, now()) - now()) * 1000))::float8
        as "throttledMilliseconds",
      array(select secret from webhook_secrets
        where endpoint_id = webhook_endpoints.id and (signs_until is null or signs_until > now())
        order by signs_until is null desc, created_at desc) as secrets
    from webhook_endpoints where id = ${id}::uuid`.execute(db);
  return rows[0];
}

/** Of whichever tenant. */
export async function endpointExists(db: Queryable, id: string): Promise<boolean> {
  return (await readEndpointState(db, id)) !== undefined;
}

export type EndpointCounts = Readonly<{ enabled: number; throttled: number; disabled: number }>;

/** Of all tenants. */
export async function countEndpoints(db: Queryable): Promise<EndpointCounts> {
  const { rows } = await sql<EndpointCounts>`
    select count(*) filter (where disabled_at is not null)::int as disabled,
      count(*) filter (where disabled_at is null and throttled_until > now())::int as throttled,
      count(*) filter (where disabled_at is null and coalesce(throttled_until <= now(), true))::int as enabled
    from webhook_endpoints`.execute(db);
  return rows[0] ?? { enabled: 0, throttled: 0, disabled: 0 };
}

export async function noteSuccess(db: Queryable, id: string): Promise<void> {
  await sql`
    update webhook_endpoints set last_success_at = now(), failing_since = null
    where id = ${id}::uuid and (failing_since is not null or last_success_at is null
      or last_success_at < now() - make_interval(secs => ${noteSeconds}))`.execute(db);
}

/** @returns true where this failure has disabled the endpoint */
export async function noteFailure(db: Queryable, id: string, failure: string): Promise<boolean> {
  const { rows } = await sql<{ disable: boolean }>`
    update webhook_endpoints set last_failure_at = now(), last_failure = ${failure.slice(0, 500)},
      failing_since = case when last_failure_at > now() - make_interval(hours => ${unrelatedHours})
        then coalesce(failing_since, now()) else now() end
    where id = ${id}::uuid
    returning failing_since < now() - make_interval(days => ${mostFailingDays}) as disable`.execute(db);
  if (rows[0]?.disable !== true) return false;
  return await disableEndpoint(
    db,
    id,
    `every attempt of ${mostFailingDays} days has failed, the last with: ${failure}`,
  );
}

/** @returns false where it was disabled before, or is gone */
export async function disableEndpoint(db: Queryable, id: string, reason: string): Promise<boolean> {
  const updated = await sql`
    update webhook_endpoints set disabled_at = now(), disabled_reason = ${reason.slice(0, 500)}
    where id = ${id}::uuid and disabled_at is null`.execute(db);
  return updated.numAffectedRows === 1n;
}

/** Of two that ask for a pause the longer one counts. */
export async function throttleEndpoint(db: Queryable, id: string, milliseconds: number): Promise<void> {
  await sql`
    update webhook_endpoints
    set throttled_until = greatest(throttled_until, now() + make_interval(secs => ${milliseconds / 1000}))
    where id = ${id}::uuid`.execute(db);
}
