// The command line: `node src/main.ts ROLE`.
import { inspect } from 'node:util';
import { rebaseLog } from '../event-store/rebase-log.ts';
import { readSettings, roles, type Role } from '../platform/config.ts';
import { listenForStop, runUntilStopped } from '../platform/lifecycle.ts';
import { createLogger } from '../platform/logger.ts';
import { migrateToLatest, withDatabase } from '../platform/migrate.ts';
import { StartupError } from '../platform/startup-error.ts';
import { readReconcileOptions, runReconcile } from './reconcile-command.ts';
import { startRole, type ServiceRole } from './roles.ts';

const usage = `usage: node src/main.ts ROLE, where ROLE is one of ${roles.join(', ')}`;
/** Of the roles, the only one with options. */
const withOptions: Role = 'reconcile';

/**
 * Runs a role to its end. Exit code 1 with one line on standard error where a person has to mend something.
 * @param parentPid whose child this process was when it began.
 */
export async function runCommand(args: readonly string[], parentPid: number): Promise<void> {
  // Whoever read our output may go (`npm run demo | head`); the service does not go with it.
  process.stdout.on('error', () => undefined);
  try {
    const role = roles.find((known) => known === args[0]);
    if (role === undefined || (args.length !== 1 && role !== withOptions)) throw new StartupError(`${usage}.`);
    await run(role, args.slice(1), parentPid);
    // 0, or what `dev` has set because a server of its own died, or `reconcile` because differences are left.
    process.exit();
  } catch (error) {
    // An error that nobody expected is shown with its causes.
    process.stderr.write(`${error instanceof StartupError ? error.message : inspect(error)}\n`);
    process.exit(1);
  }
}

async function run(role: Role, options: readonly string[], parentPid: number): Promise<void> {
  switch (role) {
    case 'api':
    case 'worker':
    case 'relay':
    case 'consumer':
    case 'all':
      await serve(role);
      break;
    case 'migrate': {
      const done = await migrateToLatest(readSettings(role).databaseUrl ?? '');
      process.stdout.write(done.length === 0 ? 'The database is up to date.\n' : `Migrated: ${done.join(', ')}.\n`);
      break;
    }
    case 'rebase-log': {
      const moved = await withDatabase(readSettings(role).databaseUrl ?? '', role, rebaseLog);
      const nothing = "The log is this cluster's own: there is nothing to rebase.\n";
      process.stdout.write(moved === 0 ? nothing : `Rebased ${moved} events.\n`);
      break;
    }
    case 'reconcile':
      process.exitCode = await runReconcile(readReconcileOptions(options), readSettings(role));
      break;
    // Loaded on demand: an image for production has no embedded PostgreSQL.
    case 'dev':
      await (await import('./dev.ts')).runDev({ playDemo: false, parentPid });
      break;
    case 'demo':
      await (await import('./dev.ts')).runDemoOnly(parentPid);
      break;
  }
}

async function serve(role: ServiceRole): Promise<void> {
  const stop = listenForStop();
  const settings = readSettings(role);
  const logger = createLogger({ level: settings.logLevel, role });
  const running = await startRole(role, settings, logger);
  await runUntilStopped(running, { stop, graceSeconds: settings.shutdownGraceSeconds + 5, logger });
}
