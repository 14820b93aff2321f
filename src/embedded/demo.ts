// The demo: four orders that end in four ways, told as they happen. It knows nothing but the HTTP API, like any client.
import { createApiClient, type ApiClient } from './demo/api-client.ts';
import { followOrder, type StoryEnd } from './demo/story.ts';

export type DemoOptions = Readonly<{
  /** Without a slash at its end. */
  apiUrl: string;
  /** Gets one line at a time, without a line break. */
  print: (line: string) => void;
  signal?: AbortSignal;
}>;

export type DemoResult = StoryEnd & Readonly<{ title: string; expected: StoryEnd['status'] }>;

type Scene = Readonly<{
  title: string;
  quantity: number;
  paymentMethod: string;
  expected: StoryEnd['status'];
  /** Cancels the order as soon as its payment is pending. */
  cancel?: boolean;
}>;

const productId = 'demo-lamp';
/** Enough for many runs of the demo, and far from what the third order wants. */
const stock = 100;
const scenes: readonly Scene[] = [
  { title: 'an order that goes through', quantity: 2, paymentMethod: 'pm_ok', expected: 'confirmed' },
  { title: 'a card that is declined', quantity: 1, paymentMethod: 'pm_declined', expected: 'failed' },
  { title: 'more lamps than there are', quantity: 100_000, paymentMethod: 'pm_ok', expected: 'failed' },
  {
    title: 'cancelled while its payment is pending',
    quantity: 1,
    paymentMethod: 'pm_pending',
    expected: 'cancelled',
    cancel: true,
  },
];

/**
 * Plays the four orders one after the other, so that each story can be read.
 * @returns what became of each, in order. An order that does not end within its time keeps its status `submitted`.
 * @throws StartupError where no API answers; Error with the problem's detail where the API refuses something.
 */
export async function runDemo(options: DemoOptions): Promise<readonly DemoResult[]> {
  const { print, signal } = options;
  const api = createApiClient(options.apiUrl, signal);
  await ensureStock(api);
  const results: DemoResult[] = [];
  for (const [index, scene] of scenes.entries()) {
    print('');
    print(
      `Order ${index + 1} of ${scenes.length}: ${scene.title} (${scene.quantity} × ${productId}, ${scene.paymentMethod})`,
    );
    const end = await play(api, scene, print);
    results.push({ ...end, title: scene.title, expected: scene.expected });
  }
  return results;
}

async function ensureStock(api: ApiClient): Promise<void> {
  const product = await api.findProduct(productId);
  if (product !== undefined && product.available >= stock / 2) return;
  await api.putProduct(productId, { name: 'Desk lamp', onHand: (product?.reserved ?? 0) + stock });
}

async function play(api: ApiClient, scene: Scene, print: (line: string) => void): Promise<StoryEnd> {
  const orderId = await api.createOrder({
    customerId: 'demo-customer',
    currency: 'EUR',
    items: [{ productId, quantity: scene.quantity, price: 4900 }],
    paymentMethod: scene.paymentMethod,
  });
  await api.submitOrder(orderId);
  return followOrder({
    api,
    orderId,
    print,
    ...(scene.cancel === true ? { cancelWhenPending: 'the customer has changed her mind' } : {}),
  });
}
