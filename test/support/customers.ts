// Customers who order over HTTP while the service has outages: they repeat what was not answered, and some
// of them cancel. The payment gateway, which calls back in its own time, is here as well.
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { orderInput, sendCallback, type HttpClient, type OrderReply, type Reply } from './http-client.ts';
import { testWebhookSecret } from './saga-service.ts';

/** What the gateway says of a pending payment: `late` is after the order's end. */
type Word = 'completed' | 'completed twice' | 'failed' | 'late' | 'never';

export type Story = Readonly<{
  paymentMethod: string;
  word?: Word;
  /** Before the order is made. */
  pauseMilliseconds: number;
  /** Between the payment and the gateway's word. */
  wordMilliseconds: number;
  /** After the submission; undefined where nobody cancels. */
  cancelMilliseconds: number | undefined;
}>;

/** One after the other, for ever again: so each is there, whatever the seed. */
const payments: readonly Pick<Story, 'paymentMethod' | 'word'>[] = [
  { paymentMethod: 'pm_ok' },
  { paymentMethod: 'pm_pending', word: 'completed' },
  { paymentMethod: 'pm_timeout' },
  { paymentMethod: 'pm_pending', word: 'completed twice' },
  { paymentMethod: 'pm_flaky' },
  { paymentMethod: 'pm_declined' },
  { paymentMethod: 'pm_pending', word: 'late' },
  { paymentMethod: 'pm_ok' },
  { paymentMethod: 'pm_pending', word: 'failed' },
  { paymentMethod: 'pm_pending', word: 'never' },
];
const cancelledEvery = 7;
const customers = 5;

const milliseconds = (max: number): fc.Arbitrary<number> => fc.noBias(fc.integer({ min: 0, max }));
const times = fc.record({
  pauseMilliseconds: milliseconds(3_000),
  wordMilliseconds: milliseconds(4_000),
  cancelMilliseconds: milliseconds(2_000),
});

/** The same seed makes the same stories. */
export function storiesOf(count: number, seed: number): readonly Story[] {
  return fc.sample(times, { seed, numRuns: count }).map(({ cancelMilliseconds, ...others }, index) => ({
    paymentMethod: 'pm_ok',
    ...payments[index % payments.length],
    ...others,
    cancelMilliseconds: index % cancelledEvery === 0 ? cancelMilliseconds : undefined,
  }));
}

/**
 * A few customers at once, each with one order after the other.
 * @param onLastOrder the last one is about to be made; others may still be under way
 * @returns the orders, when all words are spoken
 */
export async function playStories(
  client: HttpClient,
  stories: readonly Story[],
  onLastOrder: () => void,
): Promise<readonly string[]> {
  const waiting = stories.values();
  const orderIds: string[] = [];
  const words: Promise<void>[] = [];
  const customer = async (): Promise<void> => {
    for (const story of waiting) {
      await delay(story.pauseMilliseconds);
      const orderId = await order(client, story.paymentMethod);
      orderIds.push(orderId);
      words.push(cancelLater(client, orderId, story), callBack(client, orderId, story));
    }
    onLastOrder();
  };
  await Promise.all(Array.from({ length: customers }, customer));
  await Promise.all(words);
  return orderIds;
}

/** Until there is an answer that does not say "try again". @throws on one that is not among `expected` */
async function insist(expected: readonly number[], call: () => Promise<Reply>): Promise<Reply> {
  for (;;) {
    const reply = await call();
    if (reply.headers.has('Retry-After')) await delay(200);
    else if (expected.includes(reply.status)) return reply;
    else throw new Error(`${reply.status}: ${JSON.stringify(reply.body)}`);
  }
}

/** Made under a key, so that it is one order however often it is asked for; the rest is safe to repeat as it is. */
async function order(client: HttpClient, paymentMethod: string): Promise<string> {
  const key = { 'Idempotency-Key': randomUUID() };
  const input = orderInput({ paymentMethod });
  const { body } = await insist([201], async () => await client.post('/orders', input, key));
  const { orderId } = body as OrderReply;
  // 409: submitted by the call before, whose answer was lost.
  await insist([202, 409], async () => await client.post(`/orders/${orderId}/submit`));
  return orderId;
}

async function cancelLater(client: HttpClient, orderId: string, { cancelMilliseconds }: Story): Promise<void> {
  if (cancelMilliseconds === undefined) return;
  await delay(cancelMilliseconds);
  // 409: it has ended meanwhile.
  const wish = { reason: 'changed my mind' };
  await insist([202, 409], async () => await client.post(`/orders/${orderId}/cancel`, wish));
}

async function callBack(client: HttpClient, orderId: string, { word, wordMilliseconds }: Story): Promise<void> {
  if (word === undefined || word === 'never') return;
  const payment = await paymentOf(client, orderId, word === 'late');
  if (payment === undefined) return;
  await delay(wordMilliseconds);
  const type = word === 'failed' ? 'payment.failed' : 'payment.completed';
  const id = `msg_${randomUUID()}`;
  const send = async (): Promise<Reply> =>
    await sendCallback(client, testWebhookSecret, { type, orderId, ...payment }, id);
  for (let times = word === 'completed twice' ? 2 : 1; times > 0; times -= 1) await insist([204], send);
}

type Payment = Readonly<{ paymentId: string; amount: number; currency: string }>;

/** Once it is there, or once the order has ended. @returns undefined where the order has ended without one */
async function paymentOf(client: HttpClient, orderId: string, isLate: boolean): Promise<Payment | undefined> {
  const get = async (path: string): Promise<unknown> =>
    (await insist([200], async () => await client.get(`/orders/${orderId}${path}`))).body;
  for (;;) {
    const hasEnded = ((await get('')) as OrderReply).status !== 'submitted';
    const [payment] = ((await get('/payments')) as Readonly<{ payments: readonly Payment[] }>).payments;
    if (hasEnded || (payment !== undefined && !isLate)) {
      return payment && { paymentId: payment.paymentId, amount: payment.amount, currency: payment.currency };
    }
    await delay(250);
  }
}
