// To a customer who has submitted an order.
import type { MailOf } from '../../domain/job-catalogue.ts';
import { Money } from '../../domain/money.ts';
import type { Letter } from '../letter.ts';

/** Sent when the order is taken, before anything is reserved or charged: so it promises neither. */
export function orderConfirmation({ orderId, items, total, currency }: MailOf<'order-confirmation'>['data']): Letter {
  return {
    subject: `We have received your order ${orderId}`,
    parts: [
      { kind: 'heading', text: 'Thank you for your order' },
      {
        kind: 'paragraph',
        text: `We have received it. Its number is ${orderId}; please name it if you write to us. This is what you have ordered:`,
      },
      {
        kind: 'items',
        items: items.map(({ productId, quantity, price }) => {
          const each = Money.of(price, currency);
          return { name: productId, quantity, each: String(each), sum: String(each.times(quantity)) };
        }),
        total: String(Money.of(total, currency)),
      },
      {
        kind: 'paragraph',
        text: 'Next we set the items aside for you and collect the payment. If one of the two is not possible, the order ends and you pay nothing.',
      },
    ],
  };
}
