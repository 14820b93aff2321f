// The project's own cache of downloaded programs: one folder for each program and version.
import { accessSync, chmodSync, constants, mkdirSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { isAbsolute, join } from 'node:path';
import { found, isExecutable, notFound, type Rung } from './ladder.ts';

/** @returns the cache folder, which exists and is ours, or undefined where this user can write nowhere. */
export function cacheFolder(environment: NodeJS.ProcessEnv): string | undefined {
  const given = environment['XDG_CACHE_HOME'];
  // The specification wants relative paths ignored.
  const base = given !== undefined && isAbsolute(given) ? given : join(homeOf(), '.cache');
  const uid = process.getuid?.() ?? 0;
  return [join(base, 'athyper-sagas'), join(tmpdir(), `athyper-sagas-cache-${uid}`)].find((folder) => {
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      accessSync(folder, constants.W_OK);
      // We run what lies in it, so it must not be another user's (root may write anywhere).
      return statSync(folder).uid === uid || process.getuid === undefined;
    } catch {
      return false;
    }
  });
}

/** A user of a container may have neither HOME nor a line in the list of users. */
function homeOf(): string {
  try {
    return homedir();
  } catch {
    return tmpdir();
  }
}

export function cacheRung(cache: string | undefined, name: string, versions: readonly string[]): Rung {
  return {
    name: `cache ${cache ?? '(no folder that can be written)'}`,
    look: async () => {
      const path =
        cache === undefined
          ? undefined
          : versions.map((version) => join(cache, `${name}-${version}`, name)).find(isExecutable);
      return path === undefined ? notFound('empty') : found(path);
    },
  };
}

/**
 * Puts a program into the cache: `fetch` gets an empty folder and returns the path in it of the program, which is
 * moved to its place in one step, so that a fetch that dies half way leaves nothing that looks whole.
 * @returns the program's path, or undefined where `fetch` gave none.
 */
export async function fillCache(
  cache: string,
  name: string,
  version: string,
  fetch: (scratch: string) => Promise<string | undefined>,
): Promise<string | undefined> {
  const scratch = mkdtempSync(join(cache, `unfinished-${name}-`));
  try {
    const program = await fetch(scratch);
    if (program === undefined) return undefined;
    const place = join(cache, `${name}-${version}`);
    mkdirSync(place, { recursive: true, mode: 0o700 });
    chmodSync(program, 0o755);
    renameSync(program, join(place, name));
    return join(place, name);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
