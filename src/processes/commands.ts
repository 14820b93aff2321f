// The command line: `node src/main.ts ROLE`, and what follows it for those that take more.
import { inspect } from 'node:util';
import { rebaseLog } from '../event-store/rebase-log.ts';
import { readSettings, roles, type Role } from '../platform/config.ts';
import type { Db } from '../platform/database.ts';
import { listenForStop, runUntilStopped } from '../platform/lifecycle.ts';
import { createLogger } from '../platform/logger.ts';
import { withDatabase } from '../platform/migrate.ts';
import { StartupError } from '../platform/startup-error.ts';
import { parseOutboxCommand, runOutboxCommand } from './outbox-command.ts';
import type { ServiceRole } from './roles.ts';
import { parseSubscriptionsCommand, runSubscriptionsCommand } from './subscriptions-command.ts';

const usage = `usage: node src/main.ts ROLE, where ROLE is one of ${roles.join(', ')}`;
const takeMore: ReadonlySet<Role> = new Set<Role>(['outbox', 'subscriptions', 'reconcile']);

/**
 * Runs a role to its end. Exit code 1 with one line on standard error where a person has to mend something.
 * @param parentPid whose child this process was when it began.
 */
export async function runCommand(args: readonly string[], parentPid: number): Promise<void> {
  // Whoever read our output may go (`npm run demo | head`); the service does not go with it.
  process.stdout.on('error', () => undefined);
  try {
    const [name, ...more] = args;
    const role = roles.find((known) => known === name);
    if (role === undefined || (more.length > 0 && !takeMore.has(role))) throw new StartupError(`${usage}.`);
    await run(role, more, parentPid);
    // 0, or what `dev` has set because a server of its own died, or `reconcile` because differences are left.
    process.exit();
  } catch (error) {
    // An error that nobody expected is shown with its causes.
    process.stderr.write(`${error instanceof StartupError ? error.message : inspect(error)}\n`);
    process.exit(1);
  }
}

async function run(role: Role, args: readonly string[], parentPid: number): Promise<void> {
  switch (role) {
    case 'api':
    case 'worker':
    case 'relay':
    case 'consumer':
    case 'all':
      await serve(role);
      break;
    case 'migrate': {
      // Loaded on demand: the job queue's package.
      const { migrateAll } = await import('./migrate.ts');
      const done = await migrateAll(readSettings(role).databaseUrl ?? '');
      process.stdout.write(done.length === 0 ? 'The database is up to date.\n' : `Migrated: ${done.join(', ')}.\n`);
      break;
    }
    case 'rebase-log': {
      const moved = await withDatabase(readSettings(role).databaseUrl ?? '', role, rebaseLog);
      const nothing = "The log is this cluster's own: there is nothing to rebase.\n";
      process.stdout.write(moved === 0 ? nothing : `Rebased ${moved} events.\n`);
      break;
    }
    case 'bundle': {
      // Loaded on demand: the bundler is large.
      const { writeWorkflowBundle } = await import('./workflow-bundle.ts');
      const path = readSettings(role).workflowBundle ?? '';
      const { sdk, code } = await writeWorkflowBundle(path);
      process.stdout.write(`Bundled the workflows with Temporal's SDK ${sdk}: ${path} (sha256 ${code}).\n`);
      break;
    }
    case 'outbox': {
      const command = parseOutboxCommand(args);
      await answerFromDatabase(role, async (db) => await runOutboxCommand(db, command));
      break;
    }
    case 'subscriptions': {
      const command = parseSubscriptionsCommand(args);
      await answerFromDatabase(role, async (db) => await runSubscriptionsCommand(db, command));
      break;
    }
    case 'reconcile': {
      // Loaded on demand: Temporal's packages.
      const { readReconcileOptions, runReconcile } = await import('./reconcile-command.ts');
      process.exitCode = await runReconcile(readReconcileOptions(args), readSettings(role));
      break;
    }
    // Loaded on demand: an image for production has no embedded PostgreSQL.
    case 'dev':
      await (await import('./dev.ts')).runDev({ playDemo: false, parentPid });
      break;
    case 'demo':
      await (await import('./dev.ts')).runDemoOnly(parentPid);
      break;
  }
}

async function answerFromDatabase(role: Role, work: (db: Db) => Promise<string>): Promise<void> {
  process.stdout.write(await withDatabase(readSettings(role).databaseUrl ?? '', role, work));
}

async function serve(role: ServiceRole): Promise<void> {
  const stop = listenForStop();
  const settings = readSettings(role);
  const logger = createLogger({ level: settings.logLevel, role });
  // Loaded on demand: a command that looks something up need not wait for Temporal's packages.
  const { startRole } = await import('./roles.ts');
  const running = await startRole(role, settings, logger);
  await runUntilStopped(running, { stop, graceSeconds: settings.shutdownGraceSeconds + 5, logger });
}
