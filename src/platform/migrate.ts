// Brings a database to the newest migration. Safe to run in several processes at once: Kysely's migrator takes an
// advisory lock in its transaction.
import { readdir } from 'node:fs/promises';
import { Migrator, type Migration, type MigrationResultSet } from 'kysely/migration';
import type { Role } from './config.ts';
import { connectDatabase, isDatabaseUnavailable, type Db } from './database.ts';
import { StartupError } from './startup-error.ts';

const folder = new URL('../../migrations/', import.meta.url);

async function readMigrations(): Promise<Record<string, Migration>> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.ts')).toSorted();
  const entries = await Promise.all(
    files.map(async (file) => [file.replace('.ts', ''), (await import(new URL(file, folder).href)) as Migration]),
  );
  return Object.fromEntries(entries) as Record<string, Migration>;
}

const migratorFor = (db: Db): Migrator => new Migrator({ db, provider: { getMigrations: readMigrations } });

/** For a command that does one thing and ends. @throws StartupError where the database does not serve us */
export async function withDatabase<T>(databaseUrl: string, command: Role, work: (db: Db) => Promise<T>): Promise<T> {
  const onIdleError = (): void => {};
  const db = connectDatabase({
    url: databaseUrl,
    poolSize: 2,
    applicationName: `athyper-${command}`,
    onIdleError,
    // A statement over a large log takes long, and somebody is watching.
    longestSilenceMilliseconds: 0,
  });
  try {
    return await work(db);
  } catch (error) {
    throw explain(error, databaseUrl);
  } finally {
    await db.destroy();
  }
}

/**
 * @returns the names of the migrations that were run now, in order. All of them commit, or none does.
 * @throws StartupError where the database cannot be reached or does not let us in
 */
export async function migrateToLatest(databaseUrl: string): Promise<readonly string[]> {
  return await run(databaseUrl, async (migrator) => await migrator.migrateToLatest());
}

/**
 * An extension's migrations, noted apart from the service's: neither is in the way of the other's order. Safe in several
 * processes at once, as the service's are.
 * @param name of the extension; the same for ever
 * @returns and throws as `migrateToLatest`
 */
export async function migrateOwnTables(
  databaseUrl: string,
  name: string,
  migrations: Readonly<Record<string, Migration>>,
): Promise<readonly string[]> {
  const migratorOf = (db: Db): Migrator =>
    new Migrator({
      db,
      provider: { getMigrations: async () => await Promise.resolve({ ...migrations }) },
      migrationTableName: `${name}_migration`,
      migrationLockTableName: `${name}_migration_lock`,
    });
  return await run(databaseUrl, async (migrator) => await migrator.migrateToLatest(), migratorOf);
}

/** The next migration only; none where there is none. For tests, which look at what each does. */
export async function migrateUp(databaseUrl: string): Promise<readonly string[]> {
  return await run(databaseUrl, async (migrator) => await migrator.migrateUp());
}

/** Undoes the last migration. Data in what it drops is lost: for development and tests. */
export async function migrateDown(databaseUrl: string): Promise<readonly string[]> {
  return await run(databaseUrl, async (migrator) => await migrator.migrateDown());
}

async function run(
  databaseUrl: string,
  migrate: (migrator: Migrator) => Promise<MigrationResultSet>,
  migratorOf = migratorFor,
): Promise<readonly string[]> {
  return await withDatabase(databaseUrl, 'migrate', async (db) => {
    const { error, results } = await migrate(migratorOf(db));
    if (isNoService(error)) throw error;
    if (error !== undefined) throw new Error('the migration failed; nothing of it was committed', { cause: error });
    return (results ?? []).map((result) => result.migrationName);
  });
}

/** Wrong password, not allowed, no such database. */
const refusals = new Set(['28P01', '28000', '3D000']);
/** A setting of each of our connections, which PostgreSQL 16 does not know. */
const tooOld = 'unrecognized configuration parameter "transaction_timeout"';

function isNoService(error: unknown): boolean {
  const isRefused = error instanceof Error && 'code' in error && refusals.has(String(error.code));
  const isTooOld = error instanceof Error && error.message.includes(tooOld);
  return isRefused || isTooOld || isDatabaseUnavailable(error);
}

/** The address without its password: the line may end in a log. */
function explain(error: unknown, databaseUrl: string): unknown {
  if (!isNoService(error)) return error;
  const { hostname, port, pathname } = new URL(databaseUrl);
  const why = error instanceof Error && error.message !== '' ? error.message : 'no connection';
  return new StartupError(
    `PostgreSQL at ${hostname}:${port || '5432'}${pathname} does not serve us: ${why}. Start it (17 or newer), or mend DATABASE_URL.`,
  );
}
