// A program for the fault tests: runs the embedded stack on DATA_DIR until SIGTERM. It prints one line of JSON when
// the stack serves, and the one line of a StartupError when it does not.
import { startEmbeddedStack } from '../../src/embedded/stack.ts';
import { readSettings } from '../../src/platform/config.ts';
import { StartupError } from '../../src/platform/startup-error.ts';

try {
  const stack = await startEmbeddedStack({
    settings: readSettings('dev'),
    environment: process.env,
    searchAttributes: { OrderId: 'Keyword' },
    report: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(`${JSON.stringify({ settings: stack.settings, timings: stack.timings })}\n`);
  process.once('SIGTERM', () => void stack.stop());
  process.once('SIGINT', () => void stack.stop());
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
