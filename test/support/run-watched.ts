// A program for tests: starts one child that ignores SIGTERM and one that does not, hands them to a watchdog, and waits
// for its end. DATA_DIR is a folder that the watchdog removes.
import { closeSync, openSync } from 'node:fs';
import { startChild } from '../../src/embedded/children/child.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';

const watchdog = startWatchdog(process.env);
const output = openSync('/dev/null', 'a');
const sleep = async (script: string) =>
  await startChild({ program: '/bin/sh', args: ['-c', script], environment: process.env, output, folder: '/' });
const stubborn = await sleep("trap '' TERM; while :; do sleep 1; done");
const obedient = await sleep('exec sleep 600');
const unwatched = await sleep('exec sleep 600');
closeSync(output);
for (const { pid } of [stubborn, obedient]) watchdog.adopt(pid, ['SIGTERM', 'SIGKILL']);
watchdog.removeAfterwards(process.env['DATA_DIR'] ?? '/nonexistent');
const answer = {
  stubborn: stubborn.pid,
  obedient: obedient.pid,
  unwatched: unwatched.pid,
  watchdog: watchdog.identity,
};
process.once('SIGTERM', () => {
  // As after an orderly stop: nothing is left to the watchdog.
  void watchdog.release().then(() => process.exit(0));
});
process.stdout.write(`${JSON.stringify(answer)}\n`);
