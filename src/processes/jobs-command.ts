// `main.ts jobs …`: what waits, what is dead, and sending it again, for an operator with a shell. Over all tenants.
import { parseArgs } from 'node:util';
import { isId } from '../domain/ids.ts';
import { jobCatalogue } from '../domain/job-catalogue.ts';
import { listJobs, retryDeadJobs, type JobFilter, type JobView } from '../jobs/job-admin.ts';
import type { Db } from '../platform/database.ts';
import { StartupError } from '../platform/startup-error.ts';
import { tableOf } from './table.ts';

const usage =
  'usage: jobs list [--name N] [--state pending|dead] [--limit N] | jobs retry JOB_ID | jobs retry NAME --all; ' +
  'each takes --json';

type Output = Readonly<{ json: boolean }>;
export type JobsCommand = Output &
  (
    | (Readonly<{ kind: 'list' }> & Pick<JobFilter, 'names' | 'state' | 'limit'>)
    | Readonly<{ kind: 'retry'; jobId: string }>
    | Readonly<{ kind: 'retry-all'; name: string }>
  );

const allNames = Object.keys(jobCatalogue);
const defaultLimit = '100';

const options = {
  name: { type: 'string' },
  state: { type: 'string' },
  limit: { type: 'string' },
  all: { type: 'boolean' },
  json: { type: 'boolean', default: false },
} as const;

/** @throws StartupError one line, with the usage, where it is not to be understood */
export function parseJobsCommand(args: readonly string[]): JobsCommand {
  const { values, positionals } = parsed(args);
  const [verb, ...given] = positionals;
  const [which] = given;
  const { json, all = false } = values;
  if (verb === 'list' && given.length === 0 && !all) {
    const names = values.name === undefined ? allNames : [known(values.name)];
    return { kind: 'list', names, state: stateOf(values.state), limit: limitOf(values.limit), json };
  }
  const narrowed = values.name ?? values.state ?? values.limit;
  if (verb !== 'retry' || which === undefined || given.length > 1 || narrowed !== undefined) throw wrong();
  if (all) return { kind: 'retry-all', name: known(which), json };
  if (!isId(which)) throw wrong(`${which} is no job's id`);
  return { kind: 'retry', jobId: which, json };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw wrong(error instanceof Error ? error.message : String(error));
  }
}

const wrong = (why?: string): StartupError => new StartupError(`${why === undefined ? '' : `${why}; `}${usage}.`);

function known(name: string): string {
  if (allNames.includes(name)) return name;
  throw wrong(`there is no job ${name}, there are ${allNames.join(', ')}`);
}

function stateOf(text: string | undefined): JobFilter['state'] {
  if (text === undefined || text === 'pending' || text === 'dead') return text;
  throw wrong(`there is no state ${text}`);
}

function limitOf(text = defaultLimit): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text);
  throw wrong(`--limit ${text} is not a number from 1 to 999999`);
}

/**
 * Whoever runs jobs takes up what is sent again within a second.
 * @returns what to print
 * @throws StartupError where there is no such dead job
 */
export async function runJobsCommand(db: Db, command: JobsCommand): Promise<string> {
  switch (command.kind) {
    case 'list': {
      const { jobs, next } = await listJobs(db, { ...command, tenantId: undefined });
      if (command.json) return asJson({ jobs, more: next !== undefined });
      return listed(jobs) + (next === undefined ? '' : `… and more: --limit shows more than ${command.limit}.\n`);
    }
    case 'retry': {
      const { jobId, json } = command;
      const retried = await retryDeadJobs(db, { tenantId: undefined, names: allNames, jobId });
      if (retried === 0) throw new StartupError(`${jobId} is no dead job.`);
      return json ? asJson({ jobId, retried }) : `Job ${jobId} will be run again.\n`;
    }
    case 'retry-all': {
      const { name, json } = command;
      const retried = await retryDeadJobs(db, { tenantId: undefined, names: [name] });
      return json
        ? asJson({ name, retried })
        : `${retried} dead ${name} ${retried === 1 ? 'job' : 'jobs'} will be run again.\n`;
    }
  }
}

const asJson = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

const head = ['JOB ID', 'NAME', 'STATE', 'ATTEMPTS', 'CREATED', 'LAST ERROR'];
/** Of an error; --json has all of it. */
const mostCharacters = 100;

function listed(jobs: readonly JobView[]): string {
  if (jobs.length === 0) return 'There is none.\n';
  const rows = jobs.map((job) => [
    job.jobId,
    job.name,
    job.state,
    String(job.attempts),
    job.createdAt.toISOString(),
    (job.lastError ?? '').replaceAll(/\s+/g, ' ').slice(0, mostCharacters),
  ]);
  return tableOf(head, rows);
}
