// Who may import what: our own folders, packages, the environment.
import { matchesGlob } from 'node:path';
import { directions, environmentReader, packageHomes, type Direction } from './house-plan.ts';
import type { Reference, SourceFile, Violation } from './source-file.ts';

export function checkDirections(files: readonly SourceFile[]): readonly Violation[] {
  return files.flatMap((file) => [
    ...file.references.flatMap((reference) => checkReference(file, reference)),
    ...checkEnvironment(file),
  ]);
}

function checkReference(file: SourceFile, reference: Reference): readonly Violation[] {
  const found = (wrong: string, right: string): Violation => ({
    file: file.path,
    line: reference.line,
    message: `${wrong}; ${right}`,
  });
  const broken = directions.find((direction) => matches(file.path, direction.from) && breaks(direction, reference));
  if (broken) {
    return [found(`${file.room} must not import ${reference.file ?? `"${reference.specifier}"`}`, broken.right)];
  }
  const home = packageHomes.find(
    ({ packages, onlyIn }) => isOneOf(reference.package, packages) && !matches(file.path, onlyIn),
  );
  return home ? [found(`"${reference.specifier}" does not belong in ${file.room}`, home.right)] : [];
}

function breaks({ only, never, packages }: Direction, { file, package: name }: Reference): boolean {
  if (file !== undefined) return (only && !matches(file, only)) || (never !== undefined && matches(file, never));
  return packages !== undefined && !isOneOf(name, packages);
}

function checkEnvironment(file: SourceFile): readonly Violation[] {
  if (file.path === environmentReader) return [];
  return file.environmentReads.map((line) => ({
    file: file.path,
    line,
    message: `process.env is read in ${environmentReader} only; take the setting as a parameter`,
  }));
}

function matches(path: string, globs: readonly string[]): boolean {
  return globs.some((glob) => matchesGlob(path, glob));
}

function isOneOf(name: string | undefined, patterns: readonly string[]): boolean {
  if (name === undefined) return false;
  return patterns.some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern));
}
