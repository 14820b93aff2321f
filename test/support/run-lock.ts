// A program for tests: takes the lock of DATA_DIR and holds it until SIGTERM.
import { lockFolder } from '../../src/embedded/folder-lock.ts';

try {
  const unlock = await lockFolder(process.env['DATA_DIR'] ?? '', undefined);
  // So that it stays until it is told to end; set up before anybody can tell.
  const stay = setInterval(() => undefined, 60_000);
  const told = new Promise((resolve) => process.once('SIGTERM', resolve));
  process.stdout.write('"locked"\n');
  await told;
  clearInterval(stay);
  unlock();
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
