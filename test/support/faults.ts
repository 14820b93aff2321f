// Faults that a process of a fault test meets, one for each saga. A fault is a file, made before the saga comes there;
// the process leaves a second one beside it when it has met the fault.
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { faultPath, metPath, type WorkerFault } from './fault-points.ts';

export type Faults = Readonly<{
  environment: Readonly<{ FAULTS_FOLDER: string }>;
  plant(workflowId: string, fault: WorkerFault): void;
  isMet(workflowId: string): boolean;
  lift(workflowId: string): void;
  remove(): void;
}>;

export function createFaults(): Faults {
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-faults-'));
  return {
    environment: { FAULTS_FOLDER: folder },
    plant: (workflowId, fault) => writeFileSync(faultPath(folder, workflowId), JSON.stringify(fault)),
    isMet: (workflowId) => existsSync(metPath(faultPath(folder, workflowId))),
    lift: (workflowId) => rmSync(faultPath(folder, workflowId), { force: true }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
