// The embedded PostgreSQL: the npm package's programs, run by us on the loopback interface.
import { closeSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { StartupError } from '../platform/startup-error.ts';
import { endsWithin, startChild, stopChild, type Adopt, type Child, type StopStep } from './children/child.ts';
import { lastWords, logPath, logSize, openLog, wordsSince } from './children/log-file.ts';
import { accountForPostgres, outsideFolder, type Account } from './postgres/account.ts';
import { makeCluster, postgresPassword, superuser } from './postgres/cluster.ts';
import { checkVersion, openDataFolder, type DataFolder } from './postgres/data-folder.ts';
import { packagedPrograms, programsOutside, type PostgresPrograms } from './postgres/programs.ts';

export type PostgresOptions = Readonly<{
  /** DATA_DIR: data in `postgres`, log in `logs/postgres.log`, password in `postgres-password`. */
  folder: string;
  port: number;
  /** false gives up every safety against a crash of the machine for speed: for tests only. */
  durable: boolean;
  environment: NodeJS.ProcessEnv;
  report: (line: string) => void;
  adopt: Adopt;
}>;

export type RunningPostgres = Readonly<{
  /** The superuser's, with password, of the database `postgres`. */
  url: string;
  pid: number;
  /** Resolves when it has ended, wanted or not. */
  ended: Promise<string>;
  /** Ends it at the latest after 8 s, in a way that keeps the data. Safe to call twice. */
  stop(): Promise<void>;
}>;

/** A recovery after a crash of the machine may take this long. */
const startLimitMs = 120_000;
/** A postmaster that was killed leaves processes behind that end, and free the data, a moment later. */
const lingerLimitMs = 10_000;
const strangerLimitMs = 5000;

const stopSteps: readonly StopStep[] = [
  { signal: 'SIGINT', waitMs: 8000 },
  { signal: 'SIGQUIT', waitMs: 3000 },
  { signal: 'SIGKILL', waitMs: 2000 },
];

/** The order in which PostgreSQL is told to end: fast, immediate, at once. */
const postgresSignals: readonly NodeJS.Signals[] = ['SIGINT', 'SIGQUIT', 'SIGKILL'];

/**
 * Starts PostgreSQL and returns when it answers. The port must be free.
 * @throws StartupError where the data or the machine does not allow it; then nothing is left running.
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const folder = resolve(options.folder);
  const account = accountForPostgres();
  const programs = account === undefined ? packagedPrograms() : programsOutside(outsideFolder());
  const data = openDataFolder(folder, account, outsideFolder, options.report);
  const password = postgresPassword(folder);
  const environment = { PATH: options.environment['PATH'], TZ: 'UTC', LC_ALL: 'C' };
  if (!data.filled) {
    options.report('making the database');
    await makeCluster({ ...options, initdb: programs.initdb, data: data.path, folder, password, account, environment });
  }
  checkVersion(data, folder, programs.majorVersion);

  const log = logPath(folder, 'postgres');
  const url = `postgres://${superuser}:${password}@127.0.0.1:${options.port}/postgres`;
  const { port, durable, adopt } = options;
  for (const limit = Date.now() + lingerLimitMs; ; await delay(200)) {
    const since = logSize(log);
    const child = await launch({ programs, data, account, environment, log, port, durable, adopt });
    const stop = () => stopChild(child, stopSteps);
    try {
      await untilItAnswers(url, data.path, child);
      return { url, pid: child.pid, ended: child.ended, stop };
    } catch (error) {
      await stop();
      const waitsForOld = wordsSince(log, since).includes('pre-existing shared memory block');
      if (!waitsForOld || Date.now() > limit) throw startError({ error, log, since, port, data: data.path, folder });
    }
  }
}

/** A taken port says nothing against the data, and nobody should be told to remove that. */
function startError(
  at: Readonly<{ error: unknown; log: string; since: number; port: number; data: string; folder: string }>,
): StartupError {
  if (wordsSince(at.log, at.since).includes('could not bind')) {
    return new StartupError(
      `PostgreSQL's port ${at.port} is taken by another program: start again to have another one chosen.`,
    );
  }
  const cause = lastWords(at.log, at.since) || (at.error instanceof Error ? at.error.message : String(at.error));
  return new StartupError(
    `PostgreSQL cannot start with its data folder ${at.data}: ${cause} (log: ${at.log}). If the data is broken, restore it from a copy, or remove ${at.folder} to begin anew.`,
  );
}

async function launch(
  options: Readonly<{
    programs: PostgresPrograms;
    data: DataFolder;
    account: Account | undefined;
    environment: NodeJS.ProcessEnv;
    log: string;
    port: number;
    durable: boolean;
    adopt: Adopt;
  }>,
): Promise<Child> {
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    logging_collector: 'off',
    timezone: 'UTC',
    log_timezone: 'UTC',
    ...(options.durable ? {} : { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }),
  };
  const output = openLog(options.log);
  try {
    return await startChild({
      program: options.programs.postgres,
      args: [
        '-D',
        options.data.path,
        '-p',
        String(options.port),
        ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]),
      ],
      environment: options.environment,
      output,
      // The checkout may be closed to the account that runs it, and PostgreSQL must be able to name its folder.
      folder: options.data.path,
      account: options.account,
      adopt: options.adopt,
      signals: postgresSignals,
    });
  } finally {
    closeSync(output);
  }
}

async function untilItAnswers(url: string, data: string, child: Child): Promise<void> {
  const limit = Date.now() + startLimitMs;
  for (;;) {
    if (child.hasEnded()) throw new Error(`it ended with ${await child.ended}`);
    try {
      if ((await askForData(url)) === data) return;
      throw new Error('another PostgreSQL answers on its port');
    } catch (error) {
      if (Date.now() > limit) throw error;
      // Somebody else on the port, or somebody else's password: if the port is taken, ours is about to end over it.
      if (!isNotReady(error) && !(await endsWithin(child, strangerLimitMs))) throw error;
    }
    await Promise.race([delay(30), child.ended]);
  }
}

/** The data folder of the server that answers: on a port that was taken meanwhile it is not ours. */
async function askForData(url: string): Promise<string | undefined> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ data_directory: string }>('SHOW data_directory');
    return rows[0]?.data_directory;
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** What waiting cures: nobody listens yet, or it is still starting (57P03). */
function isNotReady(error: unknown): boolean {
  if (error instanceof pg.DatabaseError) return error.code === '57P03';
  return error instanceof Error && !error.message.startsWith('another PostgreSQL');
}
