// Runs one of this folder's programs as a process of its own, which a test may kill.
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export type ScriptProcess = Readonly<{
  pid: number;
  /** The JSON of its first line on standard output; rejects with what it said if it ends before. */
  serving: Promise<unknown>;
  ended: Promise<ScriptEnd>;
  kill(signal: NodeJS.Signals): void;
}>;

export type ScriptEnd = Readonly<{ code: number | null; signal: NodeJS.Signals | null; stderr: string }>;

export type ScriptOptions = Readonly<{
  environment?: NodeJS.ProcessEnv;
  program?: string;
  /** Runs the script's name as it is: npm and its options. */
  command?: readonly [string, ...string[]];
  account?: Readonly<{ uid: number; gid: number }> | undefined;
  folder?: string;
  /** Of its own group and session: a signal to the group of the test does not reach it. */
  detached?: boolean;
}>;

/** @param script file name in test/support, or an absolute path. */
export function runScript(script: string, options: ScriptOptions = {}): ScriptProcess {
  const path = script.startsWith('/') ? script : fileURLToPath(new URL(`./${script}`, import.meta.url));
  const [program, ...args] =
    options.command === undefined ? [options.program ?? process.execPath, path] : [...options.command, script];
  const child = spawn(program ?? '', args, {
    env: options.environment ?? process.env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: options.detached ?? false,
    ...(options.folder === undefined ? {} : { cwd: options.folder }),
    ...(options.account === undefined ? {} : { uid: options.account.uid, gid: options.account.gid }),
  });
  let stdout = '';
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
  const ended = new Promise<ScriptEnd>((resolve) => {
    child.once('error', (error) => resolve({ code: null, signal: null, stderr: error.message }));
    // Not "close": a program that was started by it may keep the streams open.
    child.once('exit', (code, signal) => setImmediate(() => resolve({ code, signal, stderr })));
  });
  const serving = new Promise<unknown>((resolve, reject) => {
    child.stdout.on('data', (chunk: Buffer) => {
      stdout += chunk.toString('utf8');
      if (stdout.includes('\n')) resolve(JSON.parse(stdout.slice(0, stdout.indexOf('\n'))));
    });
    void ended.then((end) => reject(new Error(`It ended (${end.code ?? end.signal}): ${end.stderr}`)));
  });
  serving.catch(() => undefined);
  return { pid: child.pid ?? 0, serving, ended, kill: (signal) => void child.kill(signal) };
}
