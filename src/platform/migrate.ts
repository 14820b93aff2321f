// Brings a database to the newest migration. Safe to run in several processes at once: Kysely's migrator takes an
// advisory lock in its transaction.
import { readdir } from 'node:fs/promises';
import { Migrator, type Migration, type MigrationResult } from 'kysely/migration';
import { connectDatabase, type Db } from './database.ts';

const folder = new URL('../../migrations/', import.meta.url);

async function readMigrations(): Promise<Record<string, Migration>> {
  const files = (await readdir(folder)).filter((file) => file.endsWith('.ts')).toSorted();
  const entries = await Promise.all(
    files.map(async (file) => [file.replace('.ts', ''), (await import(new URL(file, folder).href)) as Migration]),
  );
  return Object.fromEntries(entries) as Record<string, Migration>;
}

const migratorFor = (db: Db): Migrator => new Migrator({ db, provider: { getMigrations: readMigrations } });

async function withDatabase<T>(databaseUrl: string, work: (db: Db) => Promise<T>): Promise<T> {
  const onIdleError = (): void => {};
  const db = connectDatabase({ url: databaseUrl, poolSize: 2, applicationName: 'athyper-migrate', onIdleError });
  try {
    return await work(db);
  } finally {
    await db.destroy();
  }
}

/** @returns the names of the migrations that were run now, in order. All of them commit, or none does. */
export async function migrateToLatest(databaseUrl: string): Promise<readonly string[]> {
  return await withDatabase(databaseUrl, async (db) => {
    const { error, results } = await migratorFor(db).migrateToLatest();
    if (error !== undefined) throw new Error('the migration failed; nothing of it was committed', { cause: error });
    return (results ?? []).map((result: MigrationResult) => result.migrationName);
  });
}

/** Undoes the last migration. Data in what it drops is lost: for development and tests. */
export async function migrateDown(databaseUrl: string): Promise<readonly string[]> {
  return await withDatabase(databaseUrl, async (db) => {
    const { error, results } = await migratorFor(db).migrateDown();
    if (error !== undefined) throw new Error('the migration failed; nothing of it was committed', { cause: error });
    return (results ?? []).map((result: MigrationResult) => result.migrationName);
  });
}
