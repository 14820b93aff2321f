// The faults of faults.ts as the faulty process sees them.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { UnavailableError } from '../../src/domain/errors.ts';
import type { HoldPoint } from './hold-points.ts';

/**
 * `throws`: an error that says nothing. `gives no answer`: the one by which a gateway says that the outcome is unknown.
 * `falls silent`: stays there longer than its limit, and then goes on as if nothing had been. `runs twice`: the whole
 * activity, both at the same time; only at `entering`.
 */
export type WorkerFault = Readonly<{
  point: HoldPoint;
  kind: 'throws' | 'gives no answer' | 'falls silent' | 'runs twice';
  /** Every attempt that comes there, until the fault is lifted; otherwise the first one only. */
  always: boolean;
}>;

/** Longer than the limits that a test of it sets, and than an attempt may take. */
const silentMilliseconds = 11_000;

export const faultPath = (folder: string, workflowId: string): string => join(folder, `${workflowId}.fault`);
export const metPath = (path: string): string => `${path}.met`;

/** What an injected error says, wherever it comes up again. */
export const faultMessage = 'an injected fault';

/** @returns the fault that this attempt meets here: one that happens once is met by nobody else */
function meetFault(workflowId: string, point: HoldPoint): WorkerFault['kind'] | undefined {
  const path = faultPath(process.env['FAULTS_FOLDER'] ?? '', workflowId);
  if (!existsSync(path)) return undefined;
  const fault = JSON.parse(readFileSync(path, 'utf8')) as WorkerFault;
  if (fault.point !== point) return undefined;
  try {
    writeFileSync(metPath(path), '', { flag: 'wx' });
    return fault.kind;
  } catch {
    return fault.always ? fault.kind : undefined;
  }
}

/** @returns whether the activity is to run twice */
export async function passFault(workflowId: string, point: HoldPoint): Promise<boolean> {
  const kind = meetFault(workflowId, point);
  if (kind === 'throws') throw new Error(`${faultMessage} at ${point}`);
  if (kind === 'gives no answer') {
    throw new UnavailableError(`${faultMessage} at ${point}: no answer`, { outcomeUnknown: true });
  }
  if (kind === 'falls silent') await delay(silentMilliseconds);
  return kind === 'runs twice';
}
