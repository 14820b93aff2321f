// The rows behind Idempotency-Key: who runs a command now, and what was answered. All times are the database's.
import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import { z } from 'zod';
import { derivedId } from '../../domain/ids.ts';
import type { Db } from '../../platform/database.ts';
import type { Answer } from '../protocol/answer.ts';

export type KeyScope = Readonly<{ tenantId: string; method: string; path: string; key: string }>;

/**
 * Longer than any request: 30 s of waiting, a transaction (60 s at most, by the server), and connecting. It only ends
 * by time where a process died in the middle of a command.
 */
const lockSeconds = 120;
/** How long an answer is kept; after that the key is as new. */
const timeToLive = sql`interval '24 hours'`;

export type Claim = Readonly<{
  /** The same in every attempt of one command: ids that are derived from it come out the same. */
  commandKey: string;
  firstSeenAt: Date;
  /** An attempt before this one got no answer, or none that was kept: it may have committed. */
  repeated: boolean;
  /** Proves later that the claim was not taken over meanwhile. */
  lock: string;
}>;
export type Claimed =
  | Readonly<{ kind: 'claimed'; claim: Claim }>
  | Readonly<{ kind: 'finished'; answer: Answer }>
  | Readonly<{ kind: 'in-flight' | 'other-body' }>;

/** One statement decides, so of two requests that arrive together exactly one runs. */
export async function claimKey(db: Db, scope: KeyScope, body: unknown): Promise<Claimed> {
  const hash = hashOf(body);
  const { rows } = await sql<{ ms: number; repeated: boolean; lock: string }>`
    insert into idempotency_keys as known (tenant_id, method, path, key, request_hash, locked_until)
    values (${scope.tenantId}, ${scope.method}, ${scope.path}, ${scope.key}, ${hash},
            now() + make_interval(secs => ${lockSeconds}))
    on conflict (tenant_id, method, path, key) do update set
      request_hash = excluded.request_hash,
      status = null, headers = null, body = null,
      locked_until = excluded.locked_until,
      created_at = case when known.created_at < now() - ${timeToLive} then now() else known.created_at end
    where (known.locked_until is null or known.locked_until < now())
      and (known.created_at < now() - ${timeToLive}
           or (known.status is null and known.request_hash = excluded.request_hash))
    returning floor(extract(epoch from created_at) * 1000)::float8 as ms,
      created_at < now() as repeated, locked_until::text as lock`.execute(db);
  const [row] = rows;
  if (row === undefined) return await whyNotClaimed(db, scope, hash);
  const { tenantId, method, path, key } = scope;
  // With the time, so that the key means another command once it has expired.
  const commandKey = derivedId('command', tenantId, method, path, key, String(row.ms));
  const claim = { commandKey, firstSeenAt: new Date(row.ms), repeated: row.repeated, lock: row.lock };
  return { kind: 'claimed', claim };
}

async function whyNotClaimed(db: Db, scope: KeyScope, hash: string): Promise<Claimed> {
  const row = await rowOf(db, scope).executeTakeFirst();
  // Deleted between the two statements: the client's next attempt finds it free.
  if (row === undefined) return { kind: 'in-flight' };
  if (row.request_hash !== hash) return { kind: 'other-body' };
  if (row.status === null) return { kind: 'in-flight' };
  const headers = z.record(z.string(), z.string()).parse(row.headers);
  return { kind: 'finished', answer: { status: row.status, headers, body: row.body ?? undefined } };
}

/** Keeps the answer for whoever asks again. Changes nothing where the claim was taken over. */
export async function keepAnswer(db: Db, scope: KeyScope, claim: Claim, answer: Answer): Promise<void> {
  await sql`
    update idempotency_keys set
      status = ${answer.status}, headers = ${JSON.stringify(answer.headers)}::jsonb, body = ${answer.body ?? null},
      locked_until = null
    where ${same(scope)} and locked_until = ${claim.lock}::timestamptz`.execute(db);
}

/** The next attempt runs at once. The row stays, so that it is known as a repeated one and has the same ids. */
export async function releaseKey(db: Db, scope: KeyScope, claim: Claim): Promise<void> {
  await sql`
    update idempotency_keys set locked_until = null
    where ${same(scope)} and locked_until = ${claim.lock}::timestamptz`.execute(db);
}

/** For the clean-up loop. @returns how many were deleted */
export async function deleteExpiredKeys(db: Db): Promise<number> {
  const deleted = await sql`
    delete from idempotency_keys
    where created_at < now() - ${timeToLive} and (locked_until is null or locked_until < now())`.execute(db);
  return Number(deleted.numAffectedRows ?? 0n);
}

const same = ({ tenantId, method, path, key }: KeyScope) =>
  sql`tenant_id = ${tenantId} and method = ${method} and path = ${path} and key = ${key}`;

const rowOf = (db: Db, { tenantId, method, path, key }: KeyScope) =>
  db
    .selectFrom('idempotency_keys')
    .select(['request_hash', 'status', 'headers', 'body'])
    .where('tenant_id', '=', tenantId)
    .where('method', '=', method)
    .where('path', '=', path)
    .where('key', '=', key);

/** Of what the body says, not of its bytes: a client may write it in another order or with other blanks. */
function hashOf(body: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(sorted(body)) ?? '')
    .digest('hex');
}

/** The depth of bodies is limited where they are parsed. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .toSorted(([one], [other]) => (one < other ? -1 : 1))
    .map(([name, part]) => [name, sorted(part)]);
}
