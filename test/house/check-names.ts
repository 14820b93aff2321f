// What a file may be called, and how long it may be.
import { allowedIndexFiles, emptyNames, lineLimits } from './house-plan.ts';
import type { SourceFile, Violation } from './source-file.ts';

export function checkNames(files: readonly SourceFile[]): readonly Violation[] {
  return files.flatMap((file) => {
    const messages: string[] = [];
    const fileName = file.path.slice(file.path.lastIndexOf('/') + 1);
    const isIndex = fileName === 'index.ts';
    if ((isIndex || file.isBarrel) && !allowedIndexFiles.includes(file.path)) {
      messages.push('a barrel hides where things live; import from the files themselves');
    }
    const empty = file.path
      .replace(/\.ts$/, '')
      .split('/')
      .find((name) => emptyNames.includes(name));
    if (empty !== undefined) messages.push(`"${empty}" says nothing; name it for what it does or holds`);
    if (file.room === 'src') messages.push('a file right in src has no room; put it into a folder');
    if (file.lineCount > lineLimits.fail) {
      messages.push(`${file.lineCount} lines are too many; ${lineLimits.fail} at most, 60 to 200 read well`);
    }
    return messages.map((message) => ({ file: file.path, line: 1, message }));
  });
}

/** Files that are not too long yet. Printed, and nothing more. */
export function warnings(files: readonly SourceFile[]): readonly string[] {
  return files
    .filter(({ lineCount }) => lineCount > lineLimits.warn && lineCount <= lineLimits.fail)
    .map(({ path, lineCount }) => `${path}: ${lineCount} lines, over ${lineLimits.warn}: look twice`);
}
