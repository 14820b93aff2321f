// The Redis side of the epoch: whether this is still the Redis that was given it, and what it has not acknowledged.
//
// Each question is one script, so that its answer is of one moment. The run_id of the server tells a restart, which may
// have brought back older data with the old epoch among it; the epoch tells a Redis that was emptied as it ran.
import type { RedisConnection } from '../platform/redis.ts';
import type { Wire } from './redis-streams.ts';

/** What an entry is added under. */
export type Session = Readonly<{
  epoch: string;
  runId: string;
  /** By the database's clock, and certainly before the entry is added. */
  sentAfter: Date;
}>;

/** `stale`: this Redis is not, or no more, the one of the session; nothing was added. `full`: neither. */
export type Added = 'added' | 'stale' | 'full';

const keyOf = (prefix: string): string => `${prefix}:epoch`;
const runId = `string.match(redis.call('info', 'server'), 'run_id:(%x+)')`;

const addScript = `
  if redis.call('get', KEYS[1]) ~= ARGV[1] or ${runId} ~= ARGV[2] then return 'stale' end
  if redis.call('xlen', KEYS[2]) >= tonumber(ARGV[3]) then return 'full' end
  redis.call('xadd', KEYS[2], '*', 'event', ARGV[4], 'sent_after', ARGV[5])
  return 'added'`;

const lookScript = `
  local answer = { ${runId}, redis.call('get', KEYS[1]) or '' }
  for i = 2, #KEYS do
    local first = redis.call('xrange', KEYS[i], '-', '+', 'COUNT', 1)[1]
    if first then
      local sent = 'unknown'
      for n = 1, #first[2], 2 do if first[2][n] == 'sent_after' then sent = first[2][n + 1] end end
      answer[#answer + 1] = sent
    end
  end
  return answer`;

const giveScript = `redis.call('set', KEYS[1], ARGV[1]) return ${runId}`;

export async function addEntry(
  redis: RedisConnection,
  prefix: string,
  entry: Readonly<{ stream: string; wire: Wire; session: Session; longestStream: number }>,
): Promise<Added> {
  const { stream, wire, session, longestStream } = entry;
  const sentAfter = session.sentAfter.toISOString();
  const values = [session.epoch, session.runId, longestStream, JSON.stringify(wire), sentAfter];
  return (await redis.eval(addScript, 2, keyOf(prefix), stream, ...values)) as Added;
}

export type Look = Readonly<{
  runId: string;
  /** '' where this Redis has none. */
  epoch: string;
  /** Of each stream with entries, when its first one was sent at the earliest; undefined where it does not say. */
  oldest: readonly (Date | undefined)[];
}>;

export async function lookAtRedis(redis: RedisConnection, prefix: string, streams: readonly string[]): Promise<Look> {
  const answer = await redis.eval(lookScript, streams.length + 1, keyOf(prefix), ...streams);
  const [id = '', epoch = '', ...oldest] = answer as readonly string[];
  return { runId: id, epoch, oldest: oldest.map((sent) => (sent === 'unknown' ? undefined : new Date(sent))) };
}

/** @returns the run_id of the server that has the epoch now */
export async function giveEpoch(redis: RedisConnection, prefix: string, epoch: string): Promise<string> {
  return (await redis.eval(giveScript, 1, keyOf(prefix), epoch)) as string;
}

/** Whether this Redis forgets what it holds when it is full, instead of refusing what comes then. */
export async function forgetsWhenFull(redis: RedisConnection): Promise<boolean> {
  return /maxmemory_policy:(?!noeviction)\w/.test(await redis.info('memory'));
}

/**
 * Up to when everything that was published is acknowledged, seen at some moment after `lookedAfter`. Acknowledged entries
 * leave their stream and others stay in their order, so whatever waits in a stream was added after its first entry was,
 * and published later still. Undefined where a first entry does not say when it was sent: one of a version before this.
 */
export function safeTime(lookedAfter: Date, oldest: Look['oldest']): Date | undefined {
  let safe = lookedAfter;
  for (const sentAfter of oldest) {
    if (sentAfter === undefined) return undefined;
    if (sentAfter < safe) safe = sentAfter;
  }
  return safe;
}
