// The port that handlers enqueue jobs through. What runs them: job-workers.ts.
import type { EventMetadata } from '../domain/event.ts';
import type { JobData, JobName } from '../domain/job-catalogue.ts';
import type { Queryable } from '../platform/database.ts';

export type AddJobOptions = Readonly<{
  /** The transaction that the job is part of: it is there when that commits, and never was when it rolls back. */
  tx?: Queryable;
  /** A second job of this name with the same key is none, whatever became of the first. */
  key?: string;
  /** Carried to the job: tenant, correlation, and the event that caused it. */
  metadata?: EventMetadata;
}>;

export type JobQueue = Readonly<{
  /** @throws ZodError where the data is not what the job's name says */
  add<N extends JobName>(name: N, data: JobData<N>, options?: AddJobOptions): Promise<void>;
}>;
