// The port that handlers enqueue jobs through. Which jobs there are is handed to it; what runs them: job-workers.ts.
import type { z } from 'zod';
import type { EventMetadata } from '../domain/event.ts';
import type { Tx } from '../platform/database.ts';

/** Name → the schema of the job's data, which is checked when a job is enqueued and again when it is run. */
export type JobCatalogue = Readonly<Record<string, Readonly<{ schema: z.ZodType }>>>;
export type JobNameOf<C extends JobCatalogue> = keyof C & string;
export type JobDataOf<C extends JobCatalogue, N extends JobNameOf<C>> = Readonly<z.infer<C[N]['schema']>>;

export type AddJobOptions = Readonly<{
  /** The transaction that the job is part of: it is there when that commits, and never was when it rolls back. */
  tx?: Tx;
  /**
   * A second job of this name with the same key is none, whatever became of the first: waiting, under way, done, dead, or
   * deleted long since. Keys are kept for ever, a row of some hundred bytes each. Two transactions that add the same one
   * at once: the second waits for the first, and adds it only where that rolls back.
   */
  key?: string;
  /** Carried to the job: tenant, correlation, and the event that caused it. */
  metadata?: EventMetadata;
}>;

/** Each job is run at least once, whatever process dies when; what its handler can do about that: `JobRun.complete`. */
export type JobQueue<C extends JobCatalogue> = Readonly<{
  /**
   * Returns when it is stored; with `tx`, when that transaction has it.
   * @throws ZodError where the data is not what the job's name says
   * @throws TypeError where there is no such job
   */
  add<N extends JobNameOf<C>>(name: N, data: JobDataOf<C, N>, options?: AddJobOptions): Promise<void>;
}>;
