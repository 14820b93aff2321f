// Runs jobs: so many of each name at once, so that none of another name waits for them.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Running } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import type { JobCatalogue, JobNameOf } from './job-queue.ts';
import { defaultLimitSeconds, isInstalled, type JobStore } from './job-store.ts';
import { createJobRunner, type JobHandlers, type JobObserver, type JobRunner } from './run-job.ts';

export type JobWorkersDeps<C extends JobCatalogue> = Readonly<{
  store: JobStore;
  catalogue: C;
  /** A name that it lacks is left to other processes. */
  handlers: Partial<JobHandlers<C>>;
  logger: Logger;
  observe?: JobObserver | undefined;
  /** Of one name, in this process. */
  concurrency?: number | undefined;
  limitSeconds?: number | undefined;
  /** What running jobs get when it stops. Those that need longer are handed back, and come again. */
  graceSeconds: number;
}>;

/** Since a worker of that name last asked for a job, or was done with one. Undefined before the first. */
export type JobLoop = Readonly<{ loopAgeMilliseconds(): number | undefined }>;
export type RunningJobWorkers = Running & Readonly<{ loops: Readonly<Record<string, JobLoop>> }>;

const defaultConcurrency = 5;
/** Each worker of a name asks by itself, so a job waits for a fifth of it on average. While there are jobs nobody waits. */
const pollSeconds = 1;
const retryMilliseconds = 1_000;

/**
 * Begins at once. While the database is away, or was not migrated yet, it waits for that. Also looks after jobs whose process
 * is gone, and deletes what is done and old: any number of processes may.
 */
export function startJobWorkers<C extends JobCatalogue>(deps: JobWorkersDeps<C>): RunningJobWorkers {
  const { store, logger, concurrency = defaultConcurrency, graceSeconds } = deps;
  const runners = runnersOf(deps);
  const stopping = new AbortController();
  const { signal } = stopping;

  async function begin(): Promise<void> {
    await untilInstalled(store, logger, signal);
    if (signal.aborted) return;
    await store.start();
    for (const [name, run] of runners) {
      for (let count = 0; count < concurrency; count += 1) await work(store, name, run);
    }
  }

  async function beginOnceItCan(): Promise<void> {
    while (!signal.aborted) {
      try {
        await begin();
        return;
      } catch (error) {
        logger.warn({ err: error }, 'the job workers could not begin; again in a second');
        await pause(signal);
      }
    }
  }

  const beginning = beginOnceItCan();
  return {
    loops: Object.fromEntries(runners.map(([name]) => [name, { loopAgeMilliseconds: () => ageOf(store, name) }])),
    async stop() {
      stopping.abort();
      await beginning;
      await store.stop({ close: false, graceful: true, timeout: graceSeconds * 1000 });
    },
  };
}

type Runners = readonly (readonly [name: string, run: JobRunner])[];

function runnersOf<C extends JobCatalogue>(deps: JobWorkersDeps<C>): Runners {
  const { store, catalogue, handlers, logger, limitSeconds = defaultLimitSeconds, observe = () => undefined } = deps;
  return (Object.keys(catalogue) as JobNameOf<C>[]).flatMap((name) => {
    const [entry, handler] = [catalogue[name], handlers[name]];
    if (entry === undefined || handler === undefined) return [];
    const { schema } = entry;
    return [[name, createJobRunner({ store, name, schema, handler, limitSeconds, logger, observe })] as const];
  });
}

const pause = async (signal: AbortSignal): Promise<void> =>
  await sleep(retryMilliseconds, undefined, { signal }).catch(() => undefined);

async function untilInstalled(store: JobStore, logger: Logger, signal: AbortSignal): Promise<void> {
  for (let said = false; !signal.aborted; await pause(signal)) {
    if (await isInstalled(store)) return;
    if (!said) logger.error('the job queue is not there, or is older than this release: run `migrate`');
    said = true;
  }
}

/**
 * One at a time. After a job that is over it asks for the next one at once. After one that comes again it waits for its
 * next poll: where the other side is away, thousands that wait for it would ask it without a pause.
 */
async function work(store: JobStore, name: string, run: JobRunner): Promise<void> {
  const options = {
    batchSize: 1,
    perJobResults: true,
    includeMetadata: true,
    pollingIntervalSeconds: pollSeconds,
  } as const;
  const id: string = await store.work<object, unknown, typeof options>(name, options, async (jobs) => {
    const results = await Promise.all(jobs.map(run));
    if (results.every(({ status }) => status !== 'failed')) store.notifyWorker(id);
    return results;
  });
}

function ageOf(store: JobStore, name: string): number | undefined {
  const times = store
    .getWipData()
    .filter((worker) => worker.name === name)
    .flatMap(({ lastFetchedOn, lastJobEndedOn }) => [lastFetchedOn, lastJobEndedOn].filter((time) => time !== null));
  return times.length === 0 ? undefined : Date.now() - Math.max(...times);
}
