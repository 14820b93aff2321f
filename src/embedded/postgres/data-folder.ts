// Where PostgreSQL's data lies: DATA_DIR/postgres, which is a link to a folder outside where another account runs it.
import { createHash } from 'node:crypto';
import {
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { StartupError } from '../../platform/startup-error.ts';
import type { Account } from './account.ts';

export type DataFolder = Readonly<{
  /** The real folder, never the link. */
  path: string;
  /** It holds a database that an earlier start made. */
  filled: boolean;
}>;

/**
 * Finds the data of this DATA_DIR, or makes the empty folder for it.
 * @param outside where the data lies if `account` is given.
 * @throws StartupError where the data belongs to another account or a link leads nowhere.
 */
export function openDataFolder(
  folder: string,
  account: Account | undefined,
  outside: () => string,
  report: (line: string) => void,
): DataFolder {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const place = join(folder, 'postgres');
  const entry = lstatSync(place, { throwIfNoEntry: false });
  if (entry === undefined && account !== undefined) {
    symlinkSync(makeOutside(realpathSync(folder), account, outside(), report), place);
  } else if (entry === undefined) {
    mkdirSync(place, { mode: 0o700 });
  } else if (entry.isSymbolicLink() && !existsSync(place)) {
    throw new StartupError(
      `PostgreSQL's data is gone: ${place} leads to ${readlinkSync(place)}, which is not there (or not visible to this user). Bring it back, or remove ${folder} to begin anew.`,
    );
  }
  const path = realpathSync(place);
  checkOwner(path, folder, account);
  if (existsSync(unfinishedMark(folder))) {
    // A part of an initdb that was killed may write its last file while we remove.
    for (const name of readdirSync(path))
      rmSync(join(path, name), { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
  return { path, filled: readdirSync(path).length > 0 };
}

/** This file says that initdb was at work: what a start that died meanwhile has left is no database. */
export function unfinishedMark(folder: string): string {
  return join(folder, 'postgres-unfinished');
}

/** @throws StartupError unless the data is of the version that these programs read. */
export function checkVersion(data: DataFolder, folder: string, majorVersion: string): void {
  const file = join(data.path, 'PG_VERSION');
  const found = existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined;
  if (found === majorVersion) return;
  const what =
    found === undefined
      ? 'it has no PG_VERSION'
      : `it is of PostgreSQL ${found === '' ? '(empty PG_VERSION)' : found}, these programs are ${majorVersion}`;
  throw new StartupError(
    `PostgreSQL cannot use its data folder ${data.path}: ${what}. Restore it from a copy, or remove ${folder} to begin anew.`,
  );
}

export function initdbPasswordFile(data: string): string {
  return `${data}.password`;
}

/** Removes DATA_DIR, and the data outside that it points to. Nothing may run in it. */
export function removeDataDir(folder: string): void {
  const place = join(folder, 'postgres');
  if (lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink() === true) {
    const data = readlinkSync(place);
    for (const path of [data, initdbPasswordFile(data)]) rmSync(path, { recursive: true, force: true });
  }
  rmSync(folder, { recursive: true, force: true });
}

function makeOutside(folder: string, account: Account, outside: string, report: (line: string) => void): string {
  const name = `data-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}`;
  for (let attempt = 1; ; attempt += 1) {
    const path = join(outside, attempt === 1 ? name : `${name}-${attempt}`);
    if (!existsSync(path)) {
      mkdirSync(path, { mode: 0o700 });
      chownSync(path, account.uid, account.gid);
      if (path.startsWith(tmpdir()))
        report(`PostgreSQL's data goes to ${path}, which the system may clean: make /var/lib writable to keep it`);
      return path;
    }
    // Its DATA_DIR was removed, or only moved away: the second must not cost anybody their data.
    report(`an earlier database of ${folder} is kept in ${path}; remove it if nobody needs it`);
  }
}

function checkOwner(path: string, folder: string, account: Account | undefined): void {
  const owner = statSync(path).uid;
  const expected = account?.uid ?? process.getuid?.() ?? owner;
  if (owner === expected) return;
  const who =
    account === undefined ? 'this user' : `the account "${account.name}", which runs PostgreSQL when root starts it`;
  throw new StartupError(
    `PostgreSQL's data ${path} belongs to user id ${owner} and not to ${who}: start as the same user as before, or set DATA_DIR to another folder than ${folder}.`,
  );
}
