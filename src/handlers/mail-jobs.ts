// A mail is a job: it is there when the handler's transaction commits, and is sent after that by whoever runs jobs.
import { causedBy, type DomainEvent } from '../domain/event.ts';
import type { jobCatalogue, Mail } from '../domain/job-catalogue.ts';
import type { JobQueue } from '../jobs/job-queue.ts';
import type { Tx } from '../platform/database.ts';

export type ServiceJobs = JobQueue<typeof jobCatalogue>;

type Without<M, K extends PropertyKey> = M extends unknown ? Omit<M, K> : never;
type AddressedMail = Without<Mail, 'eventId'>;
export type UnaddressedMail = Without<Mail, 'eventId' | 'to'>;

/** One of each template for an event, also where the event comes again after the inbox has forgotten it. */
export async function addMail(jobQueue: ServiceJobs, tx: Tx, event: DomainEvent, mail: AddressedMail): Promise<void> {
  const { eventId } = event;
  await jobQueue.add(
    'send-mail',
    { ...mail, eventId },
    { tx, key: `${mail.template}:${eventId}`, metadata: causedBy(event) },
  );
}
