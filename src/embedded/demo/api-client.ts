// The part of the HTTP API that the demo and the example use. Answers are parsed for what they show, and nothing more.
import { z } from 'zod';
import { StartupError } from '../../platform/startup-error.ts';

const product = z.object({ onHand: z.number(), reserved: z.number(), available: z.number() });
const user = z.object({ userId: z.string() });
const order = z.object({
  orderId: z.string(),
  status: z.enum(['draft', 'submitted', 'confirmed', 'failed', 'cancelled']),
  failureReason: z.string().optional(),
});
const events = z.object({ events: z.array(z.object({ eventId: z.string(), eventType: z.string() })) });
const payments = z.object({ payments: z.array(z.object({ status: z.string() })) });
const saga = z.object({
  status: z.string(),
  steps: z.array(z.object({ name: z.string(), state: z.string(), attempts: z.number() })),
  webUrl: z.string(),
});
const problem = z.object({ title: z.string().optional(), detail: z.string().optional() });

export type OrderView = z.infer<typeof order>;
export type SagaView = z.infer<typeof saga>;
export type EventView = z.infer<typeof events>['events'][number];

export type NewOrder = Readonly<{
  customerId: string;
  currency: string;
  /** The price of one, in minor units. */
  items: readonly Readonly<{ productId: string; quantity: number; price: number }>[];
  /** Unset: one that works. */
  paymentMethod?: string;
}>;

export type ApiClient = Readonly<{
  /** @returns its id */
  createUser(email: string): Promise<string>;
  /** undefined: there is none. */
  findProduct(productId: string): Promise<z.infer<typeof product> | undefined>;
  putProduct(productId: string, body: Readonly<{ name: string; onHand: number }>): Promise<void>;
  /** @returns its id */
  createOrder(body: NewOrder): Promise<string>;
  /** With `waitSeconds` (10 at most) it returns when the order has ended, or that time is over; else at once. */
  submitOrder(orderId: string, waitSeconds?: number): Promise<void>;
  cancelOrder(orderId: string, reason: string): Promise<void>;
  getOrder(orderId: string): Promise<OrderView>;
  getEvents(orderId: string): Promise<readonly EventView[]>;
  getPaymentStates(orderId: string): Promise<readonly string[]>;
  /** undefined: not begun. */
  findSaga(orderId: string): Promise<SagaView | undefined>;
  /** Waits between two looks, or rejects when the demo is given up. */
  signal: AbortSignal | undefined;
}>;

/** A request that takes longer than this will not be answered. */
const requestLimitMs = 15_000;

/** Every call throws a StartupError where nothing listens, and an Error with the problem's detail on a refusal. */
export function createApiClient(apiUrl: string, signal?: AbortSignal): ApiClient {
  async function call(method: string, path: string, body?: unknown, prefer?: string): Promise<unknown> {
    const timeout = AbortSignal.timeout(requestLimitMs);
    let response: Response;
    try {
      response = await fetch(`${apiUrl}${path}`, {
        method,
        signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
        headers: {
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...(prefer === undefined ? {} : { prefer }),
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
    } catch {
      signal?.throwIfAborted();
      throw new StartupError(
        `No API answers at ${apiUrl}: start it with npm start, or set PORT to the port of one that runs.`,
      );
    }
    const text = await response.text();
    if (response.status === 404 && method === 'GET') return undefined;
    if (response.ok) return text === '' ? undefined : JSON.parse(text);
    throw new Error(`${method} ${path} was answered with ${response.status}: ${detailOf(text)}`);
  }
  const at = (orderId: string, rest = '') => `/orders/${encodeURIComponent(orderId)}${rest}`;
  const productPath = (productId: string) => `/products/${encodeURIComponent(productId)}`;
  return {
    signal,
    createUser: async (email) => user.parse(await call('POST', '/users', { email })).userId,
    findProduct: async (productId) => product.optional().parse(await call('GET', productPath(productId))),
    putProduct: async (productId, body) => void (await call('PUT', productPath(productId), body)),
    createOrder: async (body) => order.parse(await call('POST', '/orders', body)).orderId,
    submitOrder: async (orderId, waitSeconds) =>
      void (await call(
        'POST',
        at(orderId, '/submit'),
        {},
        waitSeconds === undefined ? undefined : `wait=${waitSeconds}`,
      )),
    cancelOrder: async (orderId, reason) => void (await call('POST', at(orderId, '/cancel'), { reason })),
    getOrder: async (orderId) => order.parse(await call('GET', at(orderId))),
    getEvents: async (orderId) => events.parse(await call('GET', at(orderId, '/events'))).events,
    getPaymentStates: async (orderId) =>
      payments.parse(await call('GET', at(orderId, '/payments'))).payments.map(({ status }) => status),
    findSaga: async (orderId) => saga.optional().parse(await call('GET', at(orderId, '/saga'))),
  };
}

function detailOf(text: string): string {
  try {
    const { detail, title } = problem.parse(JSON.parse(text));
    return detail ?? title ?? text;
  } catch {
    return text;
  }
}
