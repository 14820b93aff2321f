// What the tests of the embedded stack know of one that runs as a process of its own.
import { isFree } from '../../src/embedded/children/free-port.ts';
import type { CompletedSettings, Timing } from '../../src/embedded/stack.ts';
import { childrenOf, isAlive } from './processes.ts';
import { runScript, type ScriptOptions, type ScriptProcess } from './script-process.ts';

export type StackProcess = Readonly<{
  process: ScriptProcess;
  /** Of the main process; `process.pid` is npm's where npm runs it. */
  pid: number;
  settings: CompletedSettings;
  timings: readonly Timing[];
  /** Watchdog, PostgreSQL's postmaster, Temporal. */
  children: readonly number[];
  /** Of PostgreSQL, of Temporal and of its Web UI. */
  ports: readonly number[];
}>;

/** Where the tests find the programs that the global setup has found; nothing else of the caller's settings. */
export function stackEnvironment(folder: string, more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  const { PATH, HOME, XDG_CACHE_HOME, TEMPORAL_CLI } = process.env;
  return { PATH, HOME, XDG_CACHE_HOME, TEMPORAL_CLI, DATA_DIR: folder, ...more };
}

export async function startStack(folder: string, options: ScriptOptions = {}): Promise<StackProcess> {
  const script = runScript('run-stack.ts', { environment: stackEnvironment(folder), ...options });
  return describeStack(script);
}

export async function describeStack(script: ScriptProcess): Promise<StackProcess> {
  const { pid, settings, timings } = (await script.serving) as Pick<StackProcess, 'pid' | 'settings' | 'timings'>;
  const ports = [settings.databaseUrl, `tcp://${settings.temporalAddress}`, settings.temporalUiUrl].map((url) =>
    Number(new URL(url).port),
  );
  return { process: script, pid, settings, timings, children: childrenOf(pid), ports };
}

/** Which of its processes run and which of its ports are taken; nothing once all is over. */
export async function whatIsLeft(stack: StackProcess): Promise<readonly string[]> {
  const alive = [stack.pid, ...stack.children].filter(isAlive).map((pid) => `process ${pid}`);
  const taken = await Promise.all(stack.ports.map(async (port) => ((await isFree(port)) ? [] : [`port ${port}`])));
  return [...alive, ...taken.flat()];
}
