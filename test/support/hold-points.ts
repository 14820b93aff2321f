// The points of holds.ts as the held process sees them.
import { existsSync, writeFileSync } from 'node:fs';
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

/** A point holds once: an attempt that comes there again passes. */
export async function passHold(subjectId: string, point: HoldPoint): Promise<void> {
  const path = holdPath(process.env['HOLDS_FOLDER'] ?? '', subjectId, point);
  if (!existsSync(path) || existsSync(reachedPath(path))) return;
  writeFileSync(reachedPath(path), String(process.pid));
  while (existsSync(path)) await delay(10);
}
