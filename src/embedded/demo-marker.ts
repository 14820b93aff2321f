// Whether the demo was played in this DATA_DIR: a second start does not repeat it.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Next to the data: who removes that sees the demo again. */
const markPath = (folder: string): string => join(folder, 'demo-played');

export function wasDemoPlayed(folder: string): boolean {
  return existsSync(markPath(folder));
}

export function markDemoPlayed(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  writeFileSync(markPath(folder), `${new Date().toISOString()}\n`);
}
