// The watchdog: a small process of its own that stops our children when we cannot do it ourselves, because we were
// ended with kill -9. It notices by a pipe, which the system closes when this process is gone.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { identifyProcess, type ProcessIdentity } from './children/process-identity.ts';
import type { Adopt } from './children/child.ts';

/** One line of JSON on the pipe. */
export type WatchdogOrder =
  | Readonly<{ order: 'adopt'; child: ProcessIdentity; signals: readonly NodeJS.Signals[] }>
  | Readonly<{ order: 'remove'; path: string }>
  | Readonly<{ order: 'done' }>;

export type Watchdog = Readonly<{
  identity: ProcessIdentity | undefined;
  adopt: Adopt;
  /** Once the children have ended after a kill -9, this file or folder is removed. */
  removeAfterwards(path: string): void;
  /** The children have been stopped in order: the watchdog ends and touches nothing. */
  release(): Promise<void>;
}>;

/**
 * Starts the watchdog. It has a session of its own, so neither Ctrl-C in the terminal nor the end of npm reaches it.
 * After the death of this process its children are gone, and their ports free, within 8 s.
 */
export function startWatchdog(environment: NodeJS.ProcessEnv): Watchdog {
  const program = fileURLToPath(new URL('./children/watchdog-process.ts', import.meta.url));
  const child = spawn(process.execPath, [program], {
    detached: true,
    stdio: ['pipe', 'ignore', 'ignore'],
    // A debugger or a loader of ours is not meant for it.
    env: { ...environment, NODE_OPTIONS: '' },
    // It must not hold on to a folder that somebody wants to remove.
    cwd: '/',
  });
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
    child.once('error', () => resolve());
  });
  child.stdin.on('error', () => undefined);
  // Alone it is no reason for this process to stay.
  child.unref();
  const send = (order: WatchdogOrder) => void child.stdin.write(`${JSON.stringify(order)}\n`);
  return {
    identity: child.pid === undefined ? undefined : identifyProcess(child.pid),
    adopt: (pid, signals) => {
      const identity = identifyProcess(pid);
      if (identity !== undefined) send({ order: 'adopt', child: identity, signals });
    },
    removeAfterwards: (path) => send({ order: 'remove', path }),
    release: async () => {
      send({ order: 'done' });
      child.stdin.end();
      child.ref();
      await ended;
    },
  };
}
