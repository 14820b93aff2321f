// The points of holds.ts as the held process sees them.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * In a worker, of an activity: `begin` before its unit of work, `uncommitted` before that one's commit, `committed`
 * after it, with the activity's answer still unsent. Of the gateway: `before` and `after` each call's own commit.
 * In a relay: around the start of a run; of an aggregate's deliveries, around the handlers.
 */
export type HoldPoint =
  | `${'begin' | 'uncommitted' | 'committed'}:${string}`
  | `${'before' | 'after'}:${'prepare' | 'capture' | 'cancel' | 'refund' | 'start' | 'publish'}`;

export const holdPath = (folder: string, workflowId: string, point: HoldPoint): string =>
  join(folder, `${workflowId}.${point.replace(':', '-')}`);
export const reachedPath = (path: string): string => `${path}.reached`;

/**
 * A point holds one process, and there every attempt: a machine that is too busy for heartbeats makes a second one.
 * Attempts of another process pass.
 */
export async function passHold(subjectId: string, point: HoldPoint): Promise<void> {
  const path = holdPath(process.env['HOLDS_FOLDER'] ?? '', subjectId, point);
  const me = String(process.pid);
  const reached = reachedPath(path);
  if (!existsSync(path) || (existsSync(reached) && readFileSync(reached, 'utf8') !== me)) return;
  writeFileSync(reached, me);
  while (existsSync(path)) await delay(10);
}
