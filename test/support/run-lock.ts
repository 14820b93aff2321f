// A program for tests: takes the lock of DATA_DIR and holds it until SIGTERM.
import { lockFolder } from '../../src/embedded/folder-lock.ts';

try {
  const unlock = await lockFolder(process.env['DATA_DIR'] ?? '', undefined);
  process.stdout.write('"locked"\n');
  await new Promise((resolve) => {
    const stay = setInterval(() => undefined, 60_000);
    process.once('SIGTERM', () => resolve(clearInterval(stay)));
  });
  unlock();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
