// Where jobs are run: beside the plain handlers, in the relay or, with Redis, in the consumers.
import { jobCatalogue } from '../domain/job-catalogue.ts';
import { startJobWorkers, type RunningJobWorkers } from '../jobs/job-workers.ts';
import type { JobHandlers } from '../jobs/run-job.ts';
import { createSendMail } from '../mail/send-mail.ts';
import type { Parts } from './parts.ts';

export type ServiceJobHandlers = Partial<JobHandlers<typeof jobCatalogue>>;

/** What each job does. */
export const jobHandlers = ({ mailer, settings, logger, metricsRegistry }: Parts): ServiceJobHandlers => ({
  'send-mail': createSendMail({ mailer, from: settings.mailFrom, logger, metricsRegistry }),
});

/** A running job gets this share of the time in which the process must have ended. */
const shareOfGrace = 0.5;

export function startJobs(parts: Parts, handlers: ServiceJobHandlers): RunningJobWorkers {
  const { jobStore: store, logger, settings, observers } = parts;
  const graceSeconds = settings.shutdownGraceSeconds * shareOfGrace;
  return startJobWorkers({ store, catalogue: jobCatalogue, handlers, logger, observe: observers.jobs, graceSeconds });
}
