// The search for a program: rung after rung, until one has it.
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, isAbsolute, join } from 'node:path';
import { StartupError } from '../../platform/startup-error.ts';

/** A path, or the reason why this rung has none: it ends up in the message if no other rung has one. */
export type RungResult = Readonly<{ found: true; path: string }> | Readonly<{ found: false; reason: string }>;

export type Rung = Readonly<{
  name: string;
  /** @throws StartupError only where going on to the next rung would hide a mistake of the person who starts it. */
  look: () => Promise<RungResult>;
}>;

/**
 * The path that the first rung which has one gives; later rungs are not asked.
 * @throws StartupError that says what to do, and why each rung has failed; the signal's reason if it is aborted.
 */
export async function climb(
  wanted: Readonly<{ title: string; remedy: string }>,
  rungs: readonly Rung[],
  signal?: AbortSignal,
): Promise<string> {
  const reasons: string[] = [];
  for (const rung of rungs) {
    signal?.throwIfAborted();
    const result = await rung.look();
    if (result.found) return result.path;
    reasons.push(`${rung.name}: ${result.reason}`);
  }
  throw new StartupError(`Cannot find ${wanted.title}. To mend it: ${wanted.remedy}. Tried ${reasons.join('; ')}.`);
}

export const found = (path: string): RungResult => ({ found: true, path });
export const notFound = (reason: string): RungResult => ({ found: false, reason });

/** A path that somebody gave by hand: if it is set, it must be right. */
export function variableRung(variable: string, value: string | undefined): Rung {
  return {
    name: variable,
    look: async () => {
      if (value === undefined || value === '') return notFound('not set');
      if (isExecutable(value)) return found(value);
      throw new StartupError(
        `${variable} is ${value}, which is not a program that this user may run. Correct it, or unset it to have one found.`,
      );
    },
  };
}

export function pathRung(name: string, environment: NodeJS.ProcessEnv): Rung {
  return {
    name: `${name} on PATH`,
    look: async () => {
      const path = onPath(name, environment);
      return path === undefined ? notFound('none') : found(path);
    },
  };
}

/** The first program of that name on PATH. */
export function onPath(name: string, environment: NodeJS.ProcessEnv): string | undefined {
  const folders = (environment['PATH'] ?? '').split(delimiter).filter((folder) => isAbsolute(folder));
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
