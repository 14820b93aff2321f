// A long-running child process (PostgreSQL, Temporal): started, watched, stopped in order.
import { spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';

/**
 * Hands a child to the watchdog, which stops it should this process die without doing so.
 * @param signals what to send, in order, until the child ends.
 */
export type Adopt = (pid: number, signals: readonly NodeJS.Signals[]) => void;

export type Child = Readonly<{
  pid: number;
  /** Resolves, never rejects, with how it ended: "exit code 1", "signal SIGKILL". */
  ended: Promise<string>;
  hasEnded(): boolean;
  signal(signal: NodeJS.Signals): void;
}>;

export type ChildOptions = Readonly<{
  program: string;
  args: readonly string[];
  environment: NodeJS.ProcessEnv;
  /** An open file for both its output streams; the caller closes its own copy afterwards. */
  output: number;
  folder: string;
  account?: Readonly<{ uid: number; gid: number }> | undefined;
  /** Is told of the process before the program begins, so that no kill -9 of ours can fall between. */
  adopt?: Adopt;
  /** For `adopt`; SIGTERM and SIGKILL unless told otherwise. */
  signals?: readonly NodeJS.Signals[];
}>;

/** Waits for a line, and becomes the program; ends if nobody is left to send one. */
const waitThenBecome = 'read -r go || exit 1; exec "$0" "$@" </dev/null';

/**
 * Starts a program in a session of its own, so that Ctrl-C in the terminal reaches this process only, which then stops
 * its children in order.
 * @throws the system's error where nothing can be started; a program that cannot be run ends with exit code 126 or 127.
 */
export async function startChild(options: ChildOptions): Promise<Child> {
  const child = spawn('/bin/sh', ['-c', waitThenBecome, options.program, ...options.args], {
    cwd: options.folder,
    env: options.environment,
    stdio: ['pipe', options.output, options.output],
    detached: true,
    ...(options.account === undefined ? {} : { uid: options.account.uid, gid: options.account.gid }),
  });
  let over = false;
  const ended = new Promise<string>((resolve) => {
    child.once('exit', (code, signal) => {
      over = true;
      resolve(signal === null ? `exit code ${code}` : `signal ${signal}`);
    });
  });
  const { pid } = child;
  if (pid === undefined) {
    throw await new Promise((resolve) => child.once('error', resolve));
  }
  child.on('error', () => undefined);
  child.stdin?.on('error', () => undefined);
  options.adopt?.(pid, options.signals ?? ['SIGTERM', 'SIGKILL']);
  child.stdin?.end('go\n');
  return { pid, ended, hasEnded: () => over, signal: (signal) => void child.kill(signal) };
}

export type StopStep = Readonly<{ signal: NodeJS.Signals; waitMs: number }>;

/** Sends each signal in turn and waits for the end; the last step should be one that nothing survives. */
export async function stopChild(child: Child, steps: readonly StopStep[]): Promise<void> {
  for (const { signal, waitMs } of steps) {
    if (child.hasEnded()) return;
    child.signal(signal);
    if (await endsWithin(child, waitMs)) return;
  }
}

/** Resolves to whether the child ended within the time. */
export async function endsWithin(child: Child, milliseconds: number): Promise<boolean> {
  const patience = new AbortController();
  try {
    return await Promise.race([child.ended.then(() => true), delay(milliseconds, false, { signal: patience.signal })]);
  } finally {
    patience.abort();
  }
}
