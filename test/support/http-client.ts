// What a client of the service does over HTTP.
import { randomUUID } from 'node:crypto';
import { Webhook } from 'standardwebhooks';

export type Reply = Readonly<{ status: number; body: unknown; headers: Headers }>;

export type HttpClient = Readonly<{
  get(path: string): Promise<Reply>;
  put(path: string, body: unknown): Promise<Reply>;
  post(path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<Reply>;
}>;

/** @param always headers of each request */
export function createHttpClient(url: string, always: Readonly<Record<string, string>> = {}): HttpClient {
  async function call(
    method: string,
    path: string,
    body?: unknown,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Reply> {
    const response = await fetch(`${url}${path}`, {
      method,
      // A connection that is kept would be cut when the process at its other end is killed.
      headers: {
        Connection: 'close',
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...always,
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      signal: AbortSignal.timeout(40_000),
    });
    const text = await response.text();
    return {
      status: response.status,
      body: text === '' ? undefined : JSON.parse(text),
      headers: response.headers,
    };
  }
  return {
    get: async (path) => await call('GET', path),
    put: async (path, body) => await call('PUT', path, body),
    post: async (path, body, headers) => await call('POST', path, body, headers),
  };
}

export type OrderReply = Readonly<{
  orderId: string;
  status: string;
  failureReason?: string;
  paymentId?: string;
  paidAt?: string;
  saga?: Readonly<{ workflowId: string; webUrl: string }>;
}>;

type OrderWishes = Readonly<{ quantity?: number; paymentMethod?: string; productId?: string; customerId?: string }>;

/** The body of `POST /orders`. */
export function orderInput({
  quantity = 2,
  paymentMethod = 'pm_ok',
  productId = 'lamp',
  customerId = 'c-1',
}: OrderWishes): unknown {
  return { customerId, currency: 'EUR', items: [{ productId, quantity, price: 1500 }], paymentMethod };
}

export async function createOrder(client: HttpClient, order: OrderWishes = {}): Promise<string> {
  const created = await client.post('/orders', orderInput(order));
  if (created.status !== 201) throw new Error(`${created.status}: ${JSON.stringify(created.body)}`);
  return (created.body as OrderReply).orderId;
}

export type CallbackBody = Readonly<{
  type: 'payment.completed' | 'payment.failed';
  paymentId: string;
  orderId: string;
  amount: number;
  currency: string;
  reason?: string;
}>;

/**
 * The gateway's callback, signed by the reference implementation of Standard Webhooks.
 * @param id the same one again is the same callback again
 */
export async function sendCallback(
  client: HttpClient,
  secret: string,
  callback: CallbackBody,
  id = `msg_${randomUUID()}`,
): Promise<Reply> {
  const body = JSON.stringify(callback);
  const now = new Date();
  return await client.post('/webhooks/payments', body, {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(now.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign(id, now, body),
  });
}
