// What users' events bring on: a welcome, a confirmation, a count.
import type { EventBus } from '../bus/durable-event-bus.ts';
import type { Unsubscribe } from '../bus/event-bus.ts';
import type { catalogue } from '../domain/catalogue.ts';
import { countOne } from './event-counters.ts';
import { addMail, type ServiceJobs } from './mail-jobs.ts';

/** Never rename one: the inbox knows handlers by these. */
const names = {
  welcomeMail: 'users.welcome-mail',
  count: 'users.count-created',
  emailChangedMail: 'users.email-changed-mail',
} as const;

export function subscribeToUsers(
  eventBus: EventBus<typeof catalogue>,
  { jobQueue }: Readonly<{ jobQueue: ServiceJobs }>,
): readonly Unsubscribe[] {
  return [
    eventBus.subscribe(
      'user.created',
      async (event, { tx }) => {
        await addMail(jobQueue, tx, event, { template: 'welcome', to: event.payload.email, data: {} });
      },
      { name: names.welcomeMail },
    ),
    eventBus.subscribe(
      'user.created',
      async ({ payload }, { tx }) => await countOne(tx, 'users_created_total', payload.tenantId),
      { name: names.count },
    ),
    // To the address that this event brought, whatever came after it: it says that this one is known now.
    eventBus.subscribe(
      'user.email_updated',
      async (event, { tx }) => {
        const { oldEmail, newEmail } = event.payload;
        await addMail(jobQueue, tx, event, {
          template: 'email-changed-confirmation',
          to: newEmail,
          data: { oldEmail },
        });
      },
      { name: names.emailChangedMail },
    ),
  ];
}
