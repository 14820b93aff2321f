// One attempt at one job: its data checked, its handler run within its time, and what became of it said to the store.
import { fromKysely, type JobResult, type JobWithMetadata } from 'pg-boss';
import { z } from 'zod';
import { UnavailableError } from '../domain/errors.ts';
import type { EventMetadata } from '../domain/event.ts';
import { isDatabaseUnavailable, type Tx } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import type { JobCatalogue, JobDataOf, JobNameOf } from './job-queue.ts';
import { mostAttempts, mostFaults, type JobStore } from './job-store.ts';

/** Repeating cannot help: a dead letter at once. */
export class PermanentJobError extends Error {
  override readonly name = 'PermanentJobError';
}

export type JobRun<D> = Readonly<{
  data: D;
  metadata: EventMetadata;
  /** The same in every attempt, also after the job was a dead letter. */
  jobId: string;
  /** Counted from 1, those that found the other side away included. */
  attempt: number;
  /** Aborts when the time is up, the process stops, or the job is another process' by now. */
  signal: AbortSignal;
  /**
   * Ends the job in a transaction of the handler's, as its last statement: what that transaction writes then happens once,
   * however often the job is run, since only one attempt can end it. Without it a handler that was done may be run again.
   * @throws Error where another attempt has the job, or had: that must roll back
   */
  complete(tx: Tx): Promise<void>;
}>;

/**
 * Runs at least once. The job is done when it returns.
 * @throws PermanentJobError a dead letter at once
 * @throws UnavailableError the other side is away: tried again within a minute, for as long as that takes
 * Any other error is tried again too, later and later; a dead letter after `mostFaults` attempts.
 */
export type JobHandler<D> = (job: JobRun<D>) => Promise<void>;
/** One for each job of the catalogue: one that is missing does not compile. */
export type JobHandlers<C extends JobCatalogue> = Readonly<{ [N in JobNameOf<C>]: JobHandler<JobDataOf<C, N>> }>;

/** `away`: the other side was. `failed`: comes again. `lost`: this process stops, or was too slow for its heartbeat. */
export type JobOutcome = 'done' | 'away' | 'failed' | 'dead' | 'lost';
/** Told of each attempt, for metrics. Must not throw. */
export type JobObserver = (attempt: Readonly<{ name: string; outcome: JobOutcome; seconds: number }>) => void;

export type JobRunner = (job: JobWithMetadata) => Promise<JobResult>;
export type JobRunnerDeps<D> = Readonly<{
  store: JobStore;
  name: string;
  schema: z.ZodType;
  handler: JobHandler<D>;
  limitSeconds: number;
  logger: Logger;
  observe: JobObserver;
}>;

const metadataSchema = z.looseObject({ tenantId: z.string() });

/** Never rejects by what a handler does. Rejects where the store is away: the job is then missed, and comes again. */
export function createJobRunner<D>(deps: JobRunnerDeps<D>): JobRunner {
  const { store, name, logger, observe } = deps;
  const envelopeSchema = z.object({ data: deps.schema, metadata: metadataSchema });
  return async (job) => {
    const begun = performance.now();
    const parsed = envelopeSchema.safeParse(job.data);
    const { outcome, error } = parsed.success
      ? await attempt(deps, job, parsed.data as Envelope<D>)
      : { outcome: 'dead' as const, error: new PermanentJobError(`its data does not fit: ${parsed.error.message}`) };
    if (outcome === 'away') await giveBack(store, job, error);
    observe({ name, outcome, seconds: (performance.now() - begun) / 1000 });
    logger[levelOf[outcome]]({ ...contextOf(job), ...(error === undefined ? {} : { err: error }) }, saidOf[outcome]);
    return { id: job.id, status: statusOf[outcome], output: error === undefined ? null : outputOf(error) };
  };
}

const statusOf = { done: 'completed', away: 'failed', failed: 'failed', lost: 'failed', dead: 'deadletter' } as const;
const levelOf = { done: 'debug', away: 'warn', failed: 'warn', lost: 'warn', dead: 'error' } as const;
const saidOf: Readonly<Record<JobOutcome, string>> = {
  done: 'job done',
  away: 'the other side of a job is away; tried again within a minute',
  failed: 'job failed; tried again later',
  lost: 'job handed back; tried again',
  dead: 'job is a dead letter',
};

type Envelope<D> = Readonly<{ data: D; metadata: EventMetadata }>;
type Attempt = Readonly<{ outcome: JobOutcome; error?: unknown }>;

async function attempt<D>(deps: JobRunnerDeps<D>, job: JobWithMetadata, envelope: Envelope<D>): Promise<Attempt> {
  const { store, handler, limitSeconds } = deps;
  // Not the job's own signal: pg-boss aborts that one after every job, also where it was done.
  const giveUp = new AbortController();
  const { signal } = giveUp;
  const onLost = (): void => giveUp.abort(job.signal.reason);
  job.signal.addEventListener('abort', onLost);
  const run: JobRun<D> = {
    ...envelope,
    jobId: jobIdOf(job),
    attempt: job.retryCount + 1,
    signal,
    complete: async (tx) => await complete(store, job, tx),
  };
  const timer = setTimeout(() => giveUp.abort(new Error(`not done within ${limitSeconds} s`)), limitSeconds * 1000);
  try {
    // One that does not listen to its signal is left to itself; what it still does is a repeat like any other.
    await Promise.race([handler(run), aborted(signal)]);
    return { outcome: 'done' };
  } catch (error) {
    if (job.signal.aborted) return { outcome: 'lost', error };
    return { outcome: outcomeOf(error, job), error };
  } finally {
    clearTimeout(timer);
    job.signal.removeEventListener('abort', onLost);
  }
}

async function aborted(signal: AbortSignal): Promise<never> {
  return await new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    if (signal.aborted) reject(signal.reason as Error);
  });
}

function outcomeOf(error: unknown, job: JobWithMetadata): JobOutcome {
  if (error instanceof PermanentJobError) return 'dead';
  if (error instanceof UnavailableError || isDatabaseUnavailable(error)) return 'away';
  return faultsOf(job) >= mostFaults ? 'dead' : 'failed';
}

/** This one included: what was given back has raised the limit. */
const faultsOf = (job: JobWithMetadata): number => job.retryCount + 1 - (job.retryLimit - mostAttempts);

/** Ours only while no other attempt has begun and this one is not over. */
const held = ({ id, retryCount }: JobWithMetadata) => ({ id, retryCount });
/** The package's types leave out what its answers have. */
const answerSchema = z.object({ affected: z.number() });

async function complete(store: JobStore, job: JobWithMetadata, tx: Tx): Promise<void> {
  const { affected } = answerSchema.parse(await store.complete(job.name, held(job), null, { db: fromKysely(tx) }));
  if (affected !== 1) throw new Error(`job ${job.id} is no longer this attempt's to end`);
}

const longestAwaySeconds = 60;

/** Fails the attempt, then lets the job have one more, and soon. A process that dies between the two burns one attempt. */
async function giveBack(store: JobStore, job: JobWithMetadata, error: unknown): Promise<void> {
  const { affected } = answerSchema.parse(await store.fail(job.name, held(job), outputOf(error)));
  if (affected !== 1) return;
  const longest = Math.min(longestAwaySeconds, 2 ** (job.retryCount + 1));
  const startAfter = Math.ceil(longest * (0.5 + Math.random() / 2));
  await store.update(job.name, undefined, { id: job.id, retryLimit: job.retryLimit + 1, startAfter });
}

const jobIdOf = (job: JobWithMetadata): string => job.sourceRootId ?? job.id;

function contextOf(job: JobWithMetadata): Readonly<Record<string, unknown>> {
  const correlationId = (job.data as Partial<Envelope<unknown>> | null)?.metadata?.correlationId;
  return { jobId: jobIdOf(job), name: job.name, attempt: job.retryCount + 1, correlationId };
}

const outputOf = (error: unknown): Readonly<{ error: string }> => ({
  error: error instanceof Error ? `${error.name}: ${error.message}` : String(error),
});
