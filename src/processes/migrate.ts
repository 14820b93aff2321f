// What `migrate` does, and `dev` before it starts: our own migrations, then the schema and the queues of the jobs.
import { jobCatalogue } from '../domain/job-catalogue.ts';
import { installJobs } from '../jobs/install-jobs.ts';
import { createLogger } from '../platform/logger.ts';
import { migrateToLatest } from '../platform/migrate.ts';

/**
 * Safe in several processes at once.
 * @returns the names of the migrations that were run now, in order
 * @throws StartupError where the database cannot be reached or does not let us in
 */
export async function migrateAll(databaseUrl: string): Promise<readonly string[]> {
  const done = await migrateToLatest(databaseUrl);
  const logger = createLogger({ level: 'warn', role: 'migrate' });
  await installJobs({ databaseUrl, names: Object.keys(jobCatalogue), logger });
  return done;
}
