// Points at which a process of a fault test is held, one saga at a time, until the test lets it go on or kills it. A
// hold is a file, made before the saga comes there; the process answers with a second one when it has stopped there.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { holdPath, reachedPath, type HoldPoint } from './hold-points.ts';
import { eventually } from './saga-service.ts';

export type Holds = Readonly<{
  environment: Readonly<{ HOLDS_FOLDER: string }>;
  hold(workflowId: string, point: HoldPoint): void;
  /** The process has stopped there. */
  reached(workflowId: string, point: HoldPoint): Promise<void>;
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
      await eventually(async () => (existsSync(answer) ? true : undefined));
    },
    release: (workflowId, point) => rmSync(holdPath(folder, workflowId, point)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
