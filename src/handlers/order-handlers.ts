// What orders' events bring on: mails, a count, the refund's safety net, the shipment.
import type { EventBus } from '../bus/durable-event-bus.ts';
import type { Unsubscribe } from '../bus/event-bus.ts';
import type { catalogue } from '../domain/catalogue.ts';
import { causedBy } from '../domain/event.ts';
import type { CustomerMails } from './customer-mails.ts';
import { countOne } from './event-counters.ts';
import type { ServiceJobs } from './mail-jobs.ts';

/** Never rename one: the inbox knows handlers by these. */
const names = {
  confirmationMail: 'orders.confirmation-mail',
  count: 'orders.count-submitted',
  cancelledMail: 'orders.cancelled-mail',
  refund: 'orders.refund',
  createShipment: 'orders.create-shipment',
} as const;

export function subscribeToOrders(
  eventBus: EventBus<typeof catalogue>,
  { jobQueue, mails }: Readonly<{ jobQueue: ServiceJobs; mails: CustomerMails }>,
): readonly Unsubscribe[] {
  return [
    eventBus.subscribe(
      'order.submitted',
      async (event, { tx }) => {
        const { orderId, customerId, items, total, currency } = event.payload;
        const data = { orderId, items, total, currency };
        await mails.add(tx, event, customerId, { template: 'order-confirmation', data });
      },
      { name: names.confirmationMail },
    ),
    eventBus.subscribe(
      'order.submitted',
      async ({ metadata }, { tx }) => await countOne(tx, 'orders_submitted_total', metadata?.tenantId ?? 'default'),
      { name: names.count },
    ),
    eventBus.subscribe(
      'order.cancelled',
      async (event, { tx }) => {
        const { orderId, customerId, reason } = event.payload;
        await mails.add(tx, event, customerId, { template: 'order-cancelled', data: { orderId, reason } });
      },
      { name: names.cancelledMail },
    ),
    eventBus.subscribe(
      'order.cancelled',
      async (event, { tx }) => {
        const { orderId } = event.payload;
        await jobQueue.add('refund', { orderId }, { tx, key: orderId, metadata: causedBy(event) });
      },
      { name: names.refund },
    ),
    // After the payment, not at submission: until the confirmation everything can still be undone, and goods cannot.
    eventBus.subscribe(
      'order.confirmed',
      async (event, { tx }) => {
        const { orderId } = event.payload;
        await jobQueue.add('create-shipment', { orderId }, { tx, key: orderId, metadata: causedBy(event) });
      },
      { name: names.createShipment },
    ),
  ];
}
