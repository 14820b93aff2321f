// The service's roles as real processes, which a test may kill. None outlives its test, not even a test run that is
// itself ended with kill -9: the watchdog sees to that.
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { findFreePort } from '../../src/embedded/children/free-port.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export type Role = 'api' | 'worker' | 'relay' | 'consumer' | 'all';
export type RoleEnd = Readonly<{ code: number | null; signal: NodeJS.Signals | null }>;

export type RoleProcess = Readonly<{
  pid: number;
  /** Of its API, or of its probes. */
  url: string;
  ended: Promise<RoleEnd>;
  /** kill -9, and its end. */
  kill(): Promise<void>;
  /** SIGTERM, its end, and how long that took. */
  terminate(): Promise<RoleEnd & Readonly<{ milliseconds: number }>>;
  log(): string;
}>;

export type RoleProcesses = Readonly<{
  /** Of all of them, unless they are told another; mail lies there. */
  dataDir: string;
  /** Resolves once it says that it has started. @param entry a team's own file, in place of the service's */
  start(role: Role, environment?: Readonly<Record<string, string>>, entry?: string): Promise<RoleProcess>;
  /** A program of this folder that stands for a role. */
  startProgram(script: string, environment?: Readonly<Record<string, string>>): Promise<RoleProcess>;
  /** Ends all that still run with kill -9. */
  stop(): Promise<void>;
}>;

/** Less than a test has: five at once need half a minute on a machine that is busy with other things. */
const startLimitMilliseconds = 50_000;

/** @param environment what the service is told; of the test's own environment they get PATH and HOME only. */
export function createRoleProcesses(environment: Readonly<Record<string, string>>): RoleProcesses {
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-roles-'));
  const dataDir = join(folder, 'data');
  const watchdog = startWatchdog(process.env);
  watchdog.removeAfterwards(folder);
  const running = new Map<number, RoleProcess>();
  let count = 0;

  async function launch(
    name: string,
    args: readonly string[],
    more: Readonly<Record<string, string>>,
  ): Promise<RoleProcess> {
    count += 1;
    const log = join(folder, `${count}-${name}.log`);
    const output = openSync(log, 'a');
    const port = await findFreePort();
    const child = spawn(process.execPath, args, {
      env: {
        PATH: process.env['PATH'],
        HOME: process.env['HOME'],
        ...environment,
        LOG_LEVEL: 'info',
        DATA_DIR: dataDir,
        // What a test does to a saga is not mended behind its back.
        RECONCILE: 'off',
        ...(name === 'api' || name === 'all' ? { PORT: String(port) } : { HEALTH_PORT: String(port) }),
        ...more,
      },
      stdio: ['ignore', output, output],
      // A session of its own: a Ctrl-C in the terminal is for the tests.
      detached: true,
    });
    closeSync(output);
    const ended = new Promise<RoleEnd>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => resolve({ code, signal }));
    });
    ended.catch(() => undefined);
    const { pid } = child;
    if (pid === undefined) throw new Error(`${name} could not be started`);
    watchdog.adopt(pid, ['SIGKILL']);
    void ended.finally(() => running.delete(pid));
    const role: RoleProcess = {
      pid,
      url: `http://127.0.0.1:${more['PORT'] ?? port}`,
      ended,
      async kill() {
        child.kill('SIGKILL');
        await ended;
      },
      async terminate() {
        const before = performance.now();
        child.kill('SIGTERM');
        const end = await ended;
        return { ...end, milliseconds: Math.round(performance.now() - before) };
      },
      log: () => readFileSync(log, 'utf8'),
    };
    running.set(pid, role);
    await hasStarted(role, name);
    return role;
  }

  return {
    dataDir,
    start: async (role, more = {}, entry = main) => await launch(role, [entry, role], more),
    startProgram: async (script, more = {}) =>
      await launch(script, [fileURLToPath(new URL(`./${script}`, import.meta.url))], more),
    async stop() {
      await Promise.all([...running.values()].map(async (role) => await role.kill()));
      await watchdog.release();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function hasStarted(role: RoleProcess, name: string): Promise<void> {
  let end: RoleEnd | undefined;
  void role.ended.then((value) => (end = value));
  for (const limit = Date.now() + startLimitMilliseconds; !role.log().includes('"msg":"started"'); await delay(25)) {
    if (end !== undefined) throw new Error(`${name} ended (${end.code ?? end.signal}): ${role.log()}`);
    if (Date.now() > limit) throw new Error(`${name} has not started in time: ${role.log()}`);
  }
}

export type CommandEnd = Readonly<{ code: number | null; stdout: string; stderr: string }>;

/** Runs a program to its end, at most 50 s or what is given. */
export async function runToEnd(
  program: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  limitMilliseconds = startLimitMilliseconds,
): Promise<CommandEnd> {
  const child = spawn(program, args, {
    env: { PATH: process.env['PATH'], HOME: process.env['HOME'], ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: limitMilliseconds,
    killSignal: 'SIGKILL',
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString('utf8')));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString('utf8')));
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

export const runMain = async (
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  limitMilliseconds?: number,
): Promise<CommandEnd> => await runToEnd(process.execPath, [main, ...args], environment, limitMilliseconds);
