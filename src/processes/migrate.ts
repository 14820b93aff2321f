// What `migrate` does, and `dev` before it starts: our own migrations, the schema and the queues of the jobs, and then the
// tables of the extensions.
import { jobCatalogue } from '../domain/job-catalogue.ts';
import { installJobs } from '../jobs/install-jobs.ts';
import { createLogger } from '../platform/logger.ts';
import { migrateOwnTables, migrateToLatest } from '../platform/migrate.ts';
import { extendCatalogue, type Extension } from './extension.ts';

/**
 * Safe in several processes at once. Each step commits by itself: one that fails leaves those before it, and the next
 * `migrate` goes on from there.
 * @returns the names of the migrations that were run now, in order; an extension's as `name/migration`
 * @throws StartupError where the database cannot be reached or does not let us in; or, with nothing run, where an
 * extension clashes with the service or another one
 */
export async function migrateAll(
  databaseUrl: string,
  extensions: readonly Extension[] = [],
): Promise<readonly string[]> {
  extendCatalogue(extensions);
  const done = [...(await migrateToLatest(databaseUrl))];
  const logger = createLogger({ level: 'warn', role: 'migrate' });
  await installJobs({ databaseUrl, names: Object.keys(jobCatalogue), logger });
  for (const { name, migrations } of extensions) {
    if (migrations === undefined) continue;
    const own = await migrateOwnTables(databaseUrl, name, migrations);
    done.push(...own.map((migration) => `${name}/${migration}`));
  }
  return done;
}
