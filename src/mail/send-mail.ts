// The job `send-mail`: renders it, hands it to the mailer, counts what became of it.
import { UnavailableError } from '../domain/errors.ts';
import type { Mail } from '../domain/job-catalogue.ts';
import type { Logger } from '../platform/logger.ts';
import type { MetricsRegistry } from '../platform/metrics.ts';
import { MailerMisconfiguredError, MailRefusedError, type Mailer, type Sender } from './mailer.ts';
import { renderMail } from './render-mail.ts';

type MailJob = Readonly<{ data: Mail; signal: AbortSignal }>;
type Kind = 'refused' | 'misconfigured' | 'unavailable' | 'failed';

/**
 * Safe to repeat: the copy has the same Message-ID. It throws what the mailer throws (see there), which says what is to
 * become of the job.
 * @param deps.from its name is what mails call us; without one, its address
 */
export function createSendMail(
  deps: Readonly<{ mailer: Mailer; from: Sender; logger: Logger; metricsRegistry: MetricsRegistry }>,
): (job: MailJob) => Promise<void> {
  const { mailer, from, logger, metricsRegistry } = deps;
  const service = from.name === '' ? from.address : from.name;
  const sent = metricsRegistry.counter({
    name: 'mails_sent_total',
    help: 'mails that the server has taken, or that were written to files',
    labels: ['template'],
  });
  const failed = metricsRegistry.counter({
    name: 'mails_failed_total',
    help: 'attempts to send a mail that failed',
    labels: ['template', 'kind'],
  });
  const outage = createOutageLog(logger);
  return async ({ data, signal }) => {
    const { template } = data;
    try {
      await mailer.send(renderMail(data, service), signal);
    } catch (error) {
      const kind = kindOf(error);
      failed.add({ template, kind });
      outage.failed(kind, error);
      throw error;
    }
    sent.add({ template });
    outage.over();
  };
}

function kindOf(error: unknown): Kind {
  if (error instanceof MailRefusedError) return 'refused';
  if (error instanceof MailerMisconfiguredError) return 'misconfigured';
  return error instanceof UnavailableError ? 'unavailable' : 'failed';
}

/** Says once that no mail goes out and why, and once that it does again: not once for each mail that waits. */
function createOutageLog(logger: Logger): Readonly<{ failed(kind: Kind, error: unknown): void; over(): void }> {
  let said: Kind | undefined;
  return {
    failed(kind, error) {
      if (kind === said || (kind !== 'misconfigured' && kind !== 'unavailable')) return;
      said = kind;
      const level = kind === 'misconfigured' ? 'error' : 'warn';
      logger[level]({ err: error }, 'no mail goes out; what waits is tried again and again');
    },
    over() {
      if (said !== undefined) logger.info('mail goes out again');
      said = undefined;
    },
  };
}
