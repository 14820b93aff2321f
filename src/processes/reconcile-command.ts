// `reconcile [--repair] [--json] [--grace SECONDS] [--since HOURS]`: once, now, in this process. Needs no worker, except
// that a saga which it starts again runs in one.
import { refuseForeignLog } from '../event-store/rebase-log.ts';
import type { Settings } from '../platform/config.ts';
import { isDatabaseUnavailable } from '../platform/database.ts';
import { createLogger } from '../platform/logger.ts';
import { StartupError } from '../platform/startup-error.ts';
import { isInOrder, lineOf, summaryOf } from '../reconcile/report.ts';
import { readOptions } from './command-options.ts';
import type { Extension } from './extension.ts';
import { createParts } from './parts.ts';
import { defaultGraceSeconds, reconcileParts } from './reconcile.ts';

export type ReconcileCommand = Readonly<{
  repair: boolean;
  json: boolean;
  graceSeconds: number;
  sinceHours: number | undefined;
}>;

export const reconcileUsage = 'usage: node src/main.ts reconcile [--repair] [--json] [--grace SECONDS] [--since HOURS]';

/** @throws StartupError where an option is none */
export function readReconcileOptions(args: readonly string[]): ReconcileCommand {
  const { values } = readOptions({ args: [...args], options }, wrong);
  return {
    repair: values.repair,
    json: values.json,
    graceSeconds: wholeNumber(values.grace),
    sinceHours: values.since === undefined ? undefined : wholeNumber(values.since),
  };
}

const options = {
  repair: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  grace: { type: 'string', default: String(defaultGraceSeconds) },
  since: { type: 'string' },
} as const;

const wrong = (why: string): StartupError => new StartupError(`${why}\n${reconcileUsage}.`);

function wholeNumber(text: string): number {
  if (!/^\d{1,6}$/.test(text)) throw wrong(`${text} is no whole number`);
  return Number(text);
}

/** @returns the exit code: 0 where everything was looked at and nothing is left, otherwise 1 */
export async function runReconcile(
  command: ReconcileCommand,
  settings: Settings,
  extensions: readonly Extension[],
): Promise<number> {
  const { repair, json, graceSeconds, sinceHours } = command;
  const print = (text: string): void => void process.stdout.write(`${text}\n`);
  // Standard output is the report's.
  const logger = createLogger({ level: 'silent', role: 'reconcile' });
  const parts = createParts(settings, { role: 'reconcile', runsLoops: false, logger, extensions });
  try {
    await refuseForeignLog(parts.db);
    const summary = await reconcileParts(parts, {
      repair,
      graceSeconds,
      sinceHours,
      onPage: () => {},
      report: (finding) => print(json ? JSON.stringify(finding) : lineOf(finding)),
    });
    print(json ? JSON.stringify(summary) : summaryOf(summary));
    return isInOrder(summary) ? 0 : 1;
  } catch (error) {
    if (!isDatabaseUnavailable(error)) throw error;
    throw new StartupError(`PostgreSQL is away (${String(error)}); not everything was compared.`);
  } finally {
    await parts.close();
  }
}
