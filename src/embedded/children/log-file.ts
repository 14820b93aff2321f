// Where a child's output goes. The file is opened here and handed over open, because as root PostgreSQL runs as a user
// who may not even see the folder.
import { mkdirSync, openSync, readFileSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Past this size a log is set aside (one older file is kept) when its child starts anew. */
const largestLogBytes = 10 * 1024 * 1024;

export function logPath(folder: string, name: string): string {
  return join(folder, 'logs', `${name}.log`);
}

/** Opens the log to append to; the caller closes the descriptor. */
export function openLog(path: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > largestLogBytes) renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}

export function logSize(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** What the child has said from byte `since` on. */
export function wordsSince(path: string, since: number): string {
  try {
    return readFileSync(path).subarray(since).toString('utf8');
  } catch {
    return '';
  }
}

/** PostgreSQL logs these as FATAL whenever we ask too early whether it serves. */
const answerToUs = /the database system is (starting up|shutting down|in recovery mode|not yet accepting connections)/;

/**
 * What the child ended of, from byte `since` on: the line that tells of a failure, or else its last line.
 * An empty text where it said nothing.
 */
export function lastWords(path: string, since = 0): string {
  const lines = wordsSince(path, since)
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !answerToUs.test(line));
  const cause =
    lines.find((line) => /\b(FATAL|PANIC)\b/.test(line)) ?? lines.findLast((line) => /\b[Ee]rror\b/.test(line));
  return cause ?? lines.at(-1) ?? '';
}
