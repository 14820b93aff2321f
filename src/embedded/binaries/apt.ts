// The last rung for Redis: the system's own package, which only root can install.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Adopt } from '../children/child.ts';
import { found, notFound, onPath, type Rung } from './ladder.ts';
import { defaultLimits, runLongCommand } from './long-command.ts';

export function aptRung(
  deps: Readonly<{
    packageName: string;
    program: string;
    environment: NodeJS.ProcessEnv;
    report: (line: string) => void;
    isRoot?: boolean;
    signal?: AbortSignal | undefined;
    adopt?: Adopt | undefined;
  }>,
): Rung {
  const name = `apt-get install ${deps.packageName}`;
  return {
    name,
    look: async () => {
      const apt = onPath('apt-get', deps.environment);
      if (apt === undefined) return notFound('no apt-get on PATH');
      if (!(deps.isRoot ?? process.getuid?.() === 0)) return notFound('only root can');
      const nothing = mkdtempSync(join(tmpdir(), 'athyper-sagas-apt-'));
      const run = (...args: readonly string[]) =>
        runLongCommand({
          program: apt,
          args,
          environment: { ...deps.environment, DEBIAN_FRONTEND: 'noninteractive' },
          what: `apt-get ${args[0]}`,
          // apt's progress cannot be seen in one folder, so only the limits in time hold.
          growing: nothing,
          limits: { ...defaultLimits, stallMs: 300_000 },
          report: deps.report,
          signal: deps.signal,
          adopt: deps.adopt,
        });
      try {
        deps.report(name);
        // The lists may be old or absent; if they cannot be renewed, what is known may still do.
        await run('update');
        const failure = await run('install', '--yes', '--no-install-recommends', deps.packageName);
        if (failure !== undefined) return notFound(failure);
      } finally {
        rmSync(nothing, { recursive: true, force: true });
      }
      const path = onPath(deps.program, deps.environment);
      return path === undefined ? notFound(`installed, but there is no ${deps.program} on PATH`) : found(path);
    },
  };
}
