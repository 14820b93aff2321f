// DATA_DIRs of tests, below a folder that nobody else can enter.
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeDataDir } from '../../src/embedded/postgres/data-folder.ts';

export type DataDirs = Readonly<{
  /** The closed folder itself. */
  parent: string;
  /** A new, empty one, closed to others. */
  create(name: string): string;
  /** Nothing may run in them any more. */
  remove(): void;
}>;

export function createDataDirs(): DataDirs {
  const parent = mkdtempSync(join(tmpdir(), 'athyper-sagas-data-'));
  chmodSync(parent, 0o700);
  const folders: string[] = [];
  return {
    parent,
    create: (name) => {
      const folder = join(parent, name);
      mkdirSync(folder, { mode: 0o700 });
      folders.push(folder);
      return folder;
    },
    remove: () => {
      for (const folder of folders) removeDataDir(folder);
      rmSync(parent, { recursive: true, force: true });
    },
  };
}
