// Where jobs are run: beside the plain handlers, in the relay or, with Redis, in the consumers.
import { jobCatalogue } from '../domain/job-catalogue.ts';
import { startJobWorkers, type RunningJobWorkers } from '../jobs/job-workers.ts';
import { PermanentJobError, type JobHandlers } from '../jobs/run-job.ts';
import { createMailer } from '../mail/create-mailer.ts';
import { MailRefusedError, type Mailer } from '../mail/mailer.ts';
import { createSendMail } from '../mail/send-mail.ts';
import { createReactionJobs } from './handlers.ts';
import type { Parts } from './parts.ts';

type ServiceJobHandlers = JobHandlers<typeof jobCatalogue>;

/** A running job gets this share of the time in which the process must have ended. */
const shareOfGrace = 0.5;

export function startJobs(parts: Parts): RunningJobWorkers {
  const { jobStore: store, logger, settings, observers } = parts;
  const graceSeconds = settings.shutdownGraceSeconds * shareOfGrace;
  const mailer = createMailer(settings, logger);
  const handlers = jobHandlers(parts, mailer);
  const workers = startJobWorkers({
    store,
    catalogue: jobCatalogue,
    handlers,
    logger,
    observe: observers.jobs,
    graceSeconds,
  });
  return {
    ...workers,
    async stop() {
      await workers.stop();
      await mailer.close();
    },
  };
}

/** What each job does. */
function jobHandlers(parts: Parts, mailer: Mailer): ServiceJobHandlers {
  const { settings, logger, metricsRegistry } = parts;
  const sendMail = createSendMail({ mailer, from: settings.mailFrom, logger, metricsRegistry });
  return {
    ...createReactionJobs(parts),
    'send-mail': async (job) => {
      try {
        await sendMail(job);
      } catch (error) {
        if (error instanceof MailRefusedError) throw new PermanentJobError(error.message, { cause: error });
        throw error;
      }
    },
  };
}
