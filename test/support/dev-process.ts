// The role `dev` as a person starts it: with `npm start`, or as its main process alone. Nothing of it outlives its test,
// not even a test run that is itself ended with kill -9: the watchdog sees to that.
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join, sep } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { isFree } from '../../src/embedded/children/free-port.ts';
import { keptPorts } from '../../src/embedded/ports.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';
import { isAlive } from './processes.ts';
import { stackEnvironment } from './stack-process.ts';

const project = fileURLToPath(new URL('../../', import.meta.url));

/** A role given to the main process by this Node, or what npm is told; npm gets the PATH of a person's terminal. */
export type DevCommand = readonly ['node' | 'npm', ...string[]];
export type DevEnd = Readonly<{ code: number | null; signal: NodeJS.Signals | null; stdout: string; stderr: string }>;

export type DevProcess = Readonly<{
  /** Of what was started: the main process, or npm. It leads a process group, as what a terminal runs does. */
  pid: number;
  folder: string;
  stdout(): string;
  /** Resolves once standard output has it; rejects if the process ends before, or after a minute. */
  prints(what: string | RegExp): Promise<void>;
  /** Once it is ready. */
  apiUrl(): Promise<string>;
  ended: Promise<DevEnd>;
  kill(signal: NodeJS.Signals): void;
  /** Ctrl-C in the terminal: SIGINT to the whole group in the foreground. */
  interrupt(): void;
}>;

export type DevProcesses = Readonly<{
  start(command: DevCommand, folder: string, environment?: Readonly<Record<string, string>>): DevProcess;
  /** Ends all that still run, in order if they can. */
  stop(): Promise<void>;
}>;

export function createDevProcesses(): DevProcesses {
  const logs = mkdtempSync(join(tmpdir(), 'athyper-sagas-dev-'));
  const watchdog = startWatchdog(process.env);
  watchdog.removeAfterwards(logs);
  const started: DevProcess[] = [];

  return {
    start([program, ...args], folder, environment = {}) {
      const files = ['stdout', 'stderr'].map((name) => join(logs, `${started.length}-${name}`));
      const outputs = files.map((file) => openSync(file, 'a'));
      const command = program === 'npm' ? args : [join(project, 'src', 'main.ts'), ...args];
      const path = program === 'npm' ? { PATH: pathOutsideTheProject(), npm_config_update_notifier: 'false' } : {};
      const child = spawn(program === 'npm' ? 'npm' : process.execPath, command, {
        cwd: project,
        env: stackEnvironment(folder, { ...path, ...environment }),
        stdio: ['ignore', ...outputs],
        detached: true,
      });
      for (const output of outputs) closeSync(output);
      const { pid } = child;
      if (pid === undefined) throw new Error(`${program} could not be started`);
      watchdog.adopt(pid, ['SIGTERM', 'SIGKILL']);
      const [stdout, stderr] = files.map((file) => () => readFileSync(file, 'utf8')) as [() => string, () => string];
      let over = false;
      const ended = new Promise<DevEnd>((resolve) => {
        child.once('exit', (code, signal) => {
          over = true;
          resolve({ code, signal, stdout: stdout(), stderr: stderr() });
        });
      });
      const prints = async (what: string | RegExp): Promise<void> => {
        const isThere = () => (typeof what === 'string' ? stdout().includes(what) : what.test(stdout()));
        for (const limit = Date.now() + 60_000; !isThere(); await delay(10)) {
          if (!over && Date.now() < limit) continue;
          throw new Error(`It ${over ? 'ended' : 'ran a minute'} without ${what}: ${stdout()}${stderr()}`);
        }
      };
      const dev: DevProcess = {
        pid,
        folder,
        stdout,
        prints,
        async apiUrl() {
          await prints(/^ {2}API +http:.+$/m);
          return /^ {2}API +(http:.+)$/m.exec(stdout())?.[1] ?? '';
        },
        ended,
        kill: (signal) => void child.kill(signal),
        interrupt: () => void process.kill(-pid, 'SIGINT'),
      };
      started.push(dev);
      return dev;
    },
    async stop() {
      for (const dev of started) if (isAlive(dev.pid)) dev.kill('SIGTERM');
      await Promise.all(started.map(async (dev) => await dev.ended));
      // What npm has started ends a moment after a npm that was killed.
      for (const limit = Date.now() + 20_000; Date.now() < limit; await delay(50)) {
        if (started.every(({ folder }) => processesIn(folder).length === 0)) break;
      }
      for (const { pid } of started.flatMap(({ folder }) => processesIn(folder))) process.kill(pid, 'SIGKILL');
      await watchdog.release();
      rmSync(logs, { recursive: true, force: true });
    },
  };
}

/** The process that has the folder: npm's child, where npm runs. */
export function mainPidIn(folder: string): number {
  const lock = z.object({ owner: z.object({ pid: z.int() }) });
  return lock.parse(JSON.parse(readFileSync(join(folder, 'lock'), 'utf8'))).owner.pid;
}

/** Ports that a start in this folder has chosen or was given. */
export function portsOf(folder: string, port?: number): readonly number[] {
  return [...Object.values(keptPorts(folder)), port].filter((chosen) => chosen !== undefined);
}

/** Every start's first choice, in another test's folder as well: who has it tells nothing of this one. */
const sharedPort = 3000;

/** Which processes of this folder run, and which of these ports are taken; nothing once all is over. */
export async function whatIsLeftIn(folder: string, ports: readonly number[]): Promise<readonly string[]> {
  const own = ports.filter((port) => port !== sharedPort);
  const taken = await Promise.all(own.map(async (port) => ((await isFree(port)) ? [] : [`port ${port}`])));
  return [...processesIn(folder).map(({ pid, command }) => `process ${pid} ${command}`), ...taken.flat()];
}

/** Every process that was told of this DATA_DIR, or works in it: npm, the main process, its children, and theirs. */
export function processesIn(folder: string): readonly Readonly<{ pid: number; command: string }>[] {
  const homes = [folder, linkTarget(join(folder, 'postgres'))].filter((home) => home !== undefined);
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => ({ pid: Number(name), command: read(name, 'cmdline').replaceAll('\0', ' ').trim() }))
    .filter(({ pid }) => {
      const workingFolder = linkTarget(`/proc/${pid}/cwd`) ?? '';
      const isInside = homes.some((home) => workingFolder === home || workingFolder.startsWith(home + sep));
      return (isInside || read(String(pid), 'environ').split('\0').includes(`DATA_DIR=${folder}`)) && isAlive(pid);
    });
}

function read(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // It has ended, or is another user's.
    return '';
  }
}

function linkTarget(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** PATH without what npm, which runs the tests, has put before it. */
export function pathOutsideTheProject(): string {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  return folders.filter((folder) => !folder.split(sep).includes('node_modules')).join(delimiter);
}
