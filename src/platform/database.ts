// PostgreSQL: one pool per process, and which of its errors mean what.
import { Socket } from 'node:net';
import { Kysely, PostgresDialect, type Transaction } from 'kysely';
import pg from 'pg';
import type { Database } from './schema.ts';

export type Db = Kysely<Database>;
export type Tx = Transaction<Database>;
/** What a query needs; a transaction is one as well. */
export type Queryable = Kysely<Database>;

export type DatabaseOptions = Readonly<{
  url: string;
  poolSize: number;
  /** Shown in pg_stat_activity. */
  applicationName: string;
  onIdleError: (error: Error) => void;
  /**
   * A connection over which nothing has come or gone for so long counts as dead: it is destroyed and never used again, and
   * what waited for its answer fails as unavailable, its outcome unknown. Unset: a bit longer than the server lets a
   * statement last. 0: never, for a command that may take as long as it takes.
   */
  longestSilenceMilliseconds?: number | undefined;
  /** After which the server ends a transaction. Unset: 60. 0: never, for what builds or waits as long as it takes. */
  longestTransactionSeconds?: number;
}>;

const int8 = 20;
/**
 * Amounts and counts are bigint columns that the domain keeps safe, so they are read as numbers. What may exceed 2^53
 * (positions, xids) is selected as text.
 */
function parseSafeInteger(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`${text} exceeds 2^53: select it as text`);
  return value;
}

const parserOf: typeof pg.types.getTypeParser = (oid: number, format?: unknown): ((text: string) => unknown) =>
  oid === int8 && format !== 'binary'
    ? parseSafeInteger
    : (pg.types.getTypeParser(oid, 'text') as (text: string) => unknown);

/**
 * The server ends a transaction that sits idle for 15 s and any that lasts 60 s: an open one hides new events from
 * every reader of the log by order, in every database of the cluster.
 */
const sessionOptions = '-c idle_in_transaction_session_timeout=15s -c transaction_timeout=60s';

/** So a statement that the server still works on is not taken for a dead line. */
const defaultSilenceMilliseconds = 65_000;
/** Where a line is idle the kernel asks the other side; a query that waits for its answer is such a line as well. */
const keepAliveMilliseconds = 10_000;

export type Pool = pg.Pool;

export function connectDatabase(options: DatabaseOptions): Db {
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool: connectPool(options) }) });
}

/** For what brings its own SQL. Its connections keep the same rules as all others. */
export function connectPool(options: DatabaseOptions): Pool {
  const { longestSilenceMilliseconds = defaultSilenceMilliseconds, longestTransactionSeconds } = options;
  const limit = `-c transaction_timeout=${longestTransactionSeconds}s`;
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.poolSize,
    application_name: options.applicationName,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    keepAliveInitialDelayMillis: keepAliveMilliseconds,
    stream: () => socketThatEnds(longestSilenceMilliseconds),
    options: longestTransactionSeconds === undefined ? sessionOptions : `${sessionOptions} ${limit}`,
    types: { getTypeParser: parserOf },
  });
  // Without listeners a server restart would end the process: the pool listens for its idle connections only, so each
  // client gets one for the time between two statements of a transaction, whose next statement then fails.
  pool.on('error', options.onIdleError);
  pool.on('connect', (client) => client.on('error', () => undefined));
  return pool;
}

/**
 * Not pg's `query_timeout`: that gives up on the query only and leaves its connection to the next one, which then waits
 * behind it. This ends the connection, and with it all that waits on it.
 */
function socketThatEnds(longestSilenceMilliseconds: number): Socket {
  const socket = new Socket();
  return socket.setTimeout(longestSilenceMilliseconds, () => {
    const silence = new Error(`the database has been silent for ${longestSilenceMilliseconds} ms`);
    socket.destroy(Object.assign(silence, { code: 'ETIMEDOUT' }));
  });
}

const codeOf = (error: unknown): string | undefined =>
  typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string'
    ? error.code
    : undefined;

/** Serialization failure or deadlock: the whole unit of work may be run again. */
export function isRetryableTransaction(error: unknown): boolean {
  return ['40001', '40P01'].includes(codeOf(error) ?? '');
}

export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  if (codeOf(error) !== '23505') return false;
  return constraint === undefined || (error as { constraint?: string }).constraint === constraint;
}

const connectionErrors = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN']);
/** The database is away, restarting, or out of connections: nothing is wrong with the statement. */
export function isDatabaseUnavailable(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined) {
    return connectionErrors.has(code) || code.startsWith('08') || code.startsWith('57P') || code.startsWith('53');
  }
  // What pg and pg-pool throw without a code when a connection is lost or none can be had.
  return (
    error instanceof Error &&
    /^(Connection terminated|timeout exceeded when trying to connect|Client has)/.test(error.message)
  );
}
