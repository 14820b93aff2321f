// Role `migrate`, and what `dev` does at its start: the service's tables, then those of its extensions.
import { migrateOwnTables, migrateToLatest } from '../platform/migrate.ts';
import { extendCatalogue, type Extension } from './extension.ts';

/**
 * The service's commit first; an extension's that fails leaves those and the extensions before it, and is run again by
 * the next `migrate`. Safe in several processes at once.
 * @returns what was run now, in order; an extension's as `name/migration`
 * @throws StartupError where the database cannot be reached or does not let us in; or, with nothing run, where an
 * extension clashes with the service or another one
 */
export async function migrateAll(databaseUrl: string, extensions: readonly Extension[]): Promise<readonly string[]> {
  extendCatalogue(extensions);
  const done = [...(await migrateToLatest(databaseUrl))];
  for (const { name, migrations } of extensions) {
    if (migrations === undefined) continue;
    const own = await migrateOwnTables(databaseUrl, name, migrations);
    done.push(...own.map((migration) => `${name}/${migration}`));
  }
  return done;
}
