// Builds a small house on disk and looks at it through the checks' own eyes.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { readHouse } from '../../house/read-house.ts';
import type { SourceFile, Violation } from '../../house/source-file.ts';

/** Path from the root of the house -> text of the file. */
export type Plan = Readonly<Record<string, string>>;

/** Writes the files to a folder of their own, hands it to `use`, and removes it again. */
export function inHouse<T>(plan: Plan, use: (root: string) => T): T {
  const root = mkdtempSync(join(tmpdir(), 'house-'));
  try {
    for (const [path, text] of Object.entries(plan)) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), text);
    }
    return use(root);
  } finally {
    rmSync(root, { recursive: true });
  }
}

/** What a check says of the house: `file:line: message`. */
export function findings(check: (files: readonly SourceFile[]) => readonly Violation[], plan: Plan): readonly string[] {
  return check(inHouse(plan, readHouse)).map(({ file, line, message }) => `${file}:${line}: ${message}`);
}
