// A program for tests: runs the embedded stack on DATA_DIR until SIGTERM, SIGINT or the end of npm. It prints one line
// of JSON when the stack serves, or the one line of a StartupError.
import { watchParent } from '../../src/embedded/parent-watch.ts';
import { startEmbeddedStack } from '../../src/embedded/stack.ts';
import { readSettings } from '../../src/platform/config.ts';
import { StartupError } from '../../src/platform/startup-error.ts';

const stopAsked = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => stopAsked.abort(new StartupError('stopped')));
const endWatch = watchParent({
  environment: process.env,
  onGone: () => stopAsked.abort(new StartupError('npm is gone')),
});
try {
  const stack = await startEmbeddedStack({
    settings: readSettings('dev'),
    environment: process.env,
    searchAttributes: { OrderId: 'Keyword' },
    report: (line) => process.stderr.write(`${line}\n`),
    signal: stopAsked.signal,
  });
  process.stdout.write(`${JSON.stringify({ pid: process.pid, settings: stack.settings, timings: stack.timings })}\n`);
  if (!stopAsked.signal.aborted) await new Promise((resolve) => stopAsked.signal.addEventListener('abort', resolve));
  await stack.stop();
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
} finally {
  endWatch();
}
