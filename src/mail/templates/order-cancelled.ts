// To a customer whose order was cancelled, by whomever.
import type { MailOf } from '../../domain/job-catalogue.ts';
import type { Letter } from '../letter.ts';

export function orderCancelled({ orderId, reason }: MailOf<'order-cancelled'>['data']): Letter {
  return {
    subject: `Your order ${orderId} has been cancelled`,
    parts: [
      { kind: 'heading', text: 'Your order has been cancelled' },
      {
        kind: 'paragraph',
        text: `The order ${orderId} has been cancelled, and nothing of it will be sent. The reason that we were given:`,
      },
      { kind: 'quote', text: reason },
      {
        kind: 'paragraph',
        text: 'You pay nothing for it. What was charged before goes back the way it came; depending on your bank, that can take some days.',
      },
      {
        kind: 'paragraph',
        text: 'You did not expect this? Then please tell our customer service, and name the number of the order.',
      },
    ],
  };
}
