// No circle between files, be it through types only: a circle is one file in two pieces.
import { circles, type Graph } from './graph.ts';
import type { SourceFile, Violation } from './source-file.ts';

export function checkCircles(files: readonly SourceFile[]): readonly Violation[] {
  const known = new Map(files.map((file) => [file.path, file]));
  const graph: Graph = new Map(
    files.map((file) => [
      file.path,
      new Set(file.references.flatMap((reference) => (known.has(reference.file ?? '') ? [reference.file ?? ''] : []))),
    ]),
  );
  return circles(graph).map(([first = '', second = '', ...rest]) => ({
    file: first,
    line: known.get(first)?.references.find((reference) => reference.file === second)?.line ?? 1,
    message: `circle of files: ${[first, second, ...rest].join(' -> ')}; move what both need into a file below both`,
  }));
}
