// Mails to an order's customer, who may be a user of the tenant, or known to it only by name.
import type { DomainEvent } from '../domain/event.ts';
import type { Tx } from '../platform/database.ts';
import type { MetricsRegistry } from '../platform/metrics.ts';
import type { UserRepository } from '../users/user-repository.ts';
import { addMail, type ServiceJobs, type UnaddressedMail } from './mail-jobs.ts';

export type CustomerMailDeps = Readonly<{
  jobQueue: ServiceJobs;
  metricsRegistry: MetricsRegistry;
  userRepository: Pick<UserRepository, 'find'>;
}>;

export type CustomerMails = Readonly<{
  /**
   * To the address that the user of this id has now, in the event's tenant; for one that is no user's it is counted, and
   * nothing is sent.
   */
  add(tx: Tx, event: DomainEvent, customerId: string, mail: UnaddressedMail): Promise<void>;
}>;

export function createCustomerMails({ jobQueue, metricsRegistry, userRepository }: CustomerMailDeps): CustomerMails {
  // Of this process, for people: a handler that is run again counts again.
  const withoutAddress = metricsRegistry.counter({
    name: 'mails_without_address_total',
    help: 'Mails that were not sent because the customer is no user of the tenant.',
    labels: ['template'],
  });
  return {
    async add(tx, event, customerId, mail) {
      // Read in the handler's transaction: a second connection for each handler could use up the pool, all waiting.
      const user = await userRepository.find(event.metadata?.tenantId ?? 'default', customerId, tx);
      if (user === undefined) withoutAddress.add({ template: mail.template });
      else await addMail(jobQueue, tx, event, { ...mail, to: user.email });
    },
  };
}
