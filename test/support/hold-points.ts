// The points of holds.ts as the held process sees them.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

export type GatewayCall = 'prepare' | 'capture' | 'cancel' | 'refund' | 'get';

/**
 * In a worker, of an activity: `entering` and `leaving` are around all of it, `begin` is before its unit of work,
 * `uncommitted` before that one's commit, `committed` after it, with the activity's answer still unsent. Of the gateway:
 * `before` and `after` each call's own commit, in whichever activity, or in the one that is named after the `@`.
 * In a relay: around the start of a run; of an aggregate's deliveries, around the handlers.
 */
export type HoldPoint =
  | `${'entering' | 'begin' | 'uncommitted' | 'committed' | 'leaving'}:${string}`
  | `${'before' | 'after'}:${GatewayCall | `${GatewayCall}@${string}` | 'start' | 'publish'}`;

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
