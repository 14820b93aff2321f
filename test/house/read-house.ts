// Finds the files of the house on disk.
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { trees } from './house-plan.ts';
import { readSourceFile, type SourceFile } from './source-file.ts';

/**
 * Reads every TypeScript file of the checked trees, in the order of their paths. Symbolic links (src/main.ts) are left
 * out, since what they point to is read at its own place; so are trees that do not exist.
 */
export function readHouse(root: string): readonly SourceFile[] {
  return trees
    .flatMap((tree) => [...findTypeScript(root, tree)])
    .toSorted()
    .map((path) => readSourceFile(path, readFileSync(join(root, path), 'utf8')));
}

function* findTypeScript(root: string, path: string): Iterable<string> {
  const stat = lstatSync(join(root, path), { throwIfNoEntry: false });
  if (stat?.isDirectory()) {
    for (const name of readdirSync(join(root, path))) yield* findTypeScript(root, `${path}/${name}`);
  } else if (stat?.isFile() && path.endsWith('.ts')) {
    yield path;
  }
}
