// Points at which a process of a fault test is held, one saga at a time, until the test lets it go on or kills it. A
// hold is a file, made before the saga comes there; the process answers with a second one when it has stopped there.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { holdPath, reachedPath, type HoldPoint } from './hold-points.ts';
import { eventually } from './saga-service.ts';

export type Holds = Readonly<{
  environment: Readonly<{ HOLDS_FOLDER: string }>;
  hold(workflowId: string, point: HoldPoint): void;
  /** A process has stopped there. @returns its pid */
  reached(workflowId: string, point: HoldPoint): Promise<number>;
  isReached(workflowId: string, point: HoldPoint): boolean;
  release(workflowId: string, point: HoldPoint): void;
  remove(): void;
}>;

export function createHolds(): Holds {
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-holds-'));
  return {
    environment: { HOLDS_FOLDER: folder },
    hold: (workflowId, point) => writeFileSync(holdPath(folder, workflowId, point), ''),
    async reached(workflowId, point) {
      const answer = reachedPath(holdPath(folder, workflowId, point));
      const pid = async (): Promise<number> => (existsSync(answer) ? Number(readFileSync(answer, 'utf8')) : 0);
      // The file is there a moment before its text is.
      return await eventually(async () => (await pid()) || undefined);
    },
    isReached: (workflowId, point) => existsSync(reachedPath(holdPath(folder, workflowId, point))),
    release: (workflowId, point) => rmSync(holdPath(folder, workflowId, point)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
