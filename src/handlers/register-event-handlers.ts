// The plain reactions to events: what needs no workflow. Each has a stable name, so its effect in PostgreSQL happens once.
import type { catalogue } from '../domain/catalogue.ts';
import type { EventBus } from '../bus/durable-event-bus.ts';
import { createCustomerMails, type CustomerMailDeps } from './customer-mails.ts';
import { subscribeToOrders } from './order-handlers.ts';
import { subscribeToPayments } from './payment-handlers.ts';
import { subscribeToUsers } from './user-handlers.ts';

export type EventHandlerDeps = CustomerMailDeps;

/**
 * One handler for one effect: where one fails its event comes again, and the others are done with it.
 * @returns a function that removes them again
 */
export function registerEventHandlers(eventBus: EventBus<typeof catalogue>, deps: EventHandlerDeps): () => void {
  const { jobQueue } = deps;
  const mails = createCustomerMails(deps);
  const unsubscribes = [
    ...subscribeToUsers(eventBus, { jobQueue }),
    ...subscribeToOrders(eventBus, { jobQueue, mails }),
    ...subscribeToPayments(eventBus),
  ];
  return () => {
    for (const unsubscribe of unsubscribes) unsubscribe();
  };
}
