import { existsSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  identifyProcess,
  signalProcess,
  type ProcessIdentity,
} from '../../../src/embedded/children/process-identity.ts';
import { createDataDirs, type DataDirs } from '../../support/data-dirs.ts';
import { handlesHangUp, isAlive } from '../../support/processes.ts';
import { runScript, type ScriptProcess } from '../../support/script-process.ts';

type Watched = Readonly<{ stubborn: number; obedient: number; unwatched: number; watchdog: ProcessIdentity }>;

let dataDirs: DataDirs;
let folder: string;
let main: ScriptProcess;
let watched: Watched;
beforeEach(async () => {
  dataDirs = createDataDirs();
  folder = dataDirs.create('data');
  main = runScript('run-watched.ts', { environment: { ...process.env, DATA_DIR: folder } });
  watched = (await main.serving) as Watched;
});
afterEach(() => {
  main.kill('SIGKILL');
  for (const pid of [watched.stubborn, watched.obedient, watched.unwatched])
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  dataDirs.remove();
});

const watchdogIsGone = () => expect.poll(() => isAlive(watched.watchdog.pid), { timeout: 10_000 }).toBe(false);

test('it ends what was handed to it, also what ignores SIGTERM, and nothing else', async () => {
  main.kill('SIGKILL');
  await expect.poll(() => [watched.stubborn, watched.obedient].filter(isAlive), { timeout: 10_000 }).toEqual([]);
  await watchdogIsGone();
  expect(isAlive(watched.unwatched)).toBe(true);
  expect(existsSync(folder)).toBe(false);
});

test('it survives the signals of a terminal and of an orderly stop', async () => {
  // Nobody signals it in its first moments, in which Node itself starts; here the test would.
  await expect.poll(() => handlesHangUp(watched.watchdog.pid)).toBe(true);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.kill(watched.watchdog.pid, signal);
  main.kill('SIGKILL');
  await expect.poll(() => [watched.stubborn, watched.obedient].filter(isAlive), { timeout: 10_000 }).toEqual([]);
});

test('it touches nothing after an orderly end', async () => {
  main.kill('SIGTERM');
  expect(await main.ended).toMatchObject({ code: 0 });
  await watchdogIsGone();
  expect([watched.stubborn, watched.obedient].filter(isAlive)).toHaveLength(2);
  expect(existsSync(folder)).toBe(true);
});

test('where the watchdog itself was killed, an orderly end is still possible', async () => {
  process.kill(watched.watchdog.pid, 'SIGKILL');
  await watchdogIsGone();
  main.kill('SIGTERM');
  expect(await main.ended).toMatchObject({ code: 0 });
});

test('a process that has got the number of an earlier one gets no signal', () => {
  const identity = identifyProcess(watched.obedient);
  expect(identity).toBeDefined();
  expect(signalProcess({ pid: watched.obedient, startedAt: 'long ago' }, 'SIGKILL')).toBe(false);
  expect(identifyProcess(watched.obedient)).toEqual(identity);
});
