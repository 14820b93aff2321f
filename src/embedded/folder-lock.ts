// One start at a time in a DATA_DIR.
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';
import { StartupError } from '../platform/startup-error.ts';
import { identifyProcess, isRunning, type ProcessIdentity } from './children/process-identity.ts';

const identity = z.object({ pid: z.number().int().positive(), startedAt: z.string() });
const lockFile = z.object({ owner: identity, watchdog: identity.optional() });
type Lock = z.infer<typeof lockFile>;

/** The watchdog of a start that was ended with kill -9 needs 9 s at the most for what that start has left. */
const watchdogLimitMs = 10_000;
/** Far longer than it takes to put back a lock. */
const settleMs = 100;

/**
 * Takes the folder for this process. A lock whose owner has died is taken over, after its watchdog has ended the old
 * children.
 * @param watchdog of this start; a later one waits for it.
 * @returns a function that gives the folder back.
 * @throws StartupError that names the process which has the folder.
 */
export async function lockFolder(folder: string, watchdog: ProcessIdentity | undefined): Promise<() => void> {
  const file = join(folder, 'lock');
  const owner = identifyProcess(process.pid);
  if (owner === undefined) throw new Error('This system does not tell when a process has started.');
  const mine = `${file}.${process.pid}`;
  // Written before it is linked to its name: nobody ever reads half a lock.
  writeFileSync(mine, JSON.stringify({ owner, ...(watchdog === undefined ? {} : { watchdog }) } satisfies Lock));
  let contested = false;
  try {
    for (;;) {
      if (linked(mine, file)) {
        // Of several that take over a stale lock, one may for a moment take away another one's new lock (see below).
        if (contested) await delay(settleMs);
        if (isSame(readLock(file)?.owner, owner)) return () => rmSync(file, { force: true });
        continue;
      }
      contested = true;
      const other = readLock(file);
      if (other !== undefined) await untilItIsOver(other, folder);
      takeAway(file, other);
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

function linked(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}

/** undefined where the lock is gone, or no lock of ours. */
function readLock(file: string): Lock | undefined {
  try {
    return lockFile.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    return undefined;
  }
}

async function untilItIsOver(lock: Lock, folder: string): Promise<void> {
  if (isRunning(lock.owner)) {
    throw new StartupError(
      `Another start has the folder ${folder}: process ${lock.owner.pid}. Stop that one, or set DATA_DIR to another folder.`,
    );
  }
  const { watchdog } = lock;
  if (watchdog === undefined) return;
  for (const limit = Date.now() + watchdogLimitMs; isRunning(watchdog); await delay(50)) {
    if (Date.now() < limit) continue;
    throw new StartupError(
      `An earlier start in ${folder} was killed, and process ${watchdog.pid} is still ending what it has left: wait, or end that process.`,
    );
  }
}

/**
 * Removes a lock that is over. Of two that try, one may find that the other has already put its own lock there; a
 * rename shows what was really taken away, and what should not have been is put back. If a third one is quicker, it
 * has the folder, and whose lock was taken away notices.
 */
function takeAway(file: string, stale: Lock | undefined): void {
  if (!isSame(readLock(file)?.owner, stale?.owner)) return;
  const aside = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, aside);
  } catch {
    return;
  }
  if (!isSame(readLock(aside)?.owner, stale?.owner)) linked(aside, file);
  rmSync(aside, { force: true });
}

function isSame(one: ProcessIdentity | undefined, other: ProcessIdentity | undefined): boolean {
  return one?.pid === other?.pid && one?.startedAt === other?.startedAt;
}
