// A program for tests: runs the embedded PostgreSQL on DATA_DIR until SIGTERM, and prints its URL as JSON.
import { findFreePort } from '../../src/embedded/children/free-port.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';
import { StartupError } from '../../src/platform/startup-error.ts';

const told = new Promise((resolve) => process.once('SIGTERM', resolve));
const watchdog = startWatchdog(process.env);
try {
  const postgres = await startPostgres({
    folder: process.env['DATA_DIR'] ?? '.data',
    port: await findFreePort(),
    durable: true,
    environment: process.env,
    report: (line) => process.stderr.write(`${line}\n`),
    adopt: watchdog.adopt,
  });
  process.stdout.write(`${JSON.stringify({ url: postgres.url, uid: process.getuid?.() })}\n`);
  await told;
  await postgres.stop();
} catch (error) {
  if (!(error instanceof StartupError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
} finally {
  await watchdog.release();
}
