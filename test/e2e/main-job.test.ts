// The service's main job, through HTTP alone, on real processes: role `all`, and the roles apart, without and with Redis.
import { HTTP, type CloudEvent } from 'cloudevents';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  createHttpClient,
  createOrder,
  sendCallback,
  type HttpClient,
  type OrderReply,
} from '../support/http-client.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { createRoleProcesses, type Role, type RoleProcesses } from '../support/role-process.ts';
import { eventually, startSagaService, testWebhookSecret, type SagaService } from '../support/saga-service.ts';
import { subjectsTo } from '../support/mail-folder.ts';
import { scrape } from '../support/metrics.ts';
import { services } from '../support/services.ts';
import { startWebhookReceiver, verified } from '../support/webhook-receiver.ts';

type Product = Readonly<{ onHand: number; reserved: number; available: number }>;
type Payments = Readonly<{
  payments: readonly Readonly<{
    paymentId: string;
    status: string;
    amount: number;
    refunded: number;
    currency: string;
  }>[];
}>;
type Saga = Readonly<{
  workflowId: string;
  runId: string;
  status: string;
  webUrl: string;
  steps: readonly Readonly<{ name: string; state: string; attempts: number }>[];
}>;
type Events = Readonly<{ events: readonly Readonly<{ eventType: string; version: number }>[] }>;

const layouts: readonly Readonly<{ name: string; roles: readonly Role[]; redis: boolean }>[] = [
  { name: 'role all', roles: ['all'], redis: false },
  { name: 'api, worker and relay apart', roles: ['worker', 'relay', 'api'], redis: false },
  {
    name: 'api, worker, relay and consumer apart, with Redis',
    roles: ['worker', 'relay', 'consumer', 'api'],
    redis: true,
  },
];

describe.each(layouts)('$name', ({ roles: wanted, redis: withRedis }) => {
  let service: SagaService;
  let roles: RoleProcesses;
  let redis: TestRedis | undefined;
  let client: HttpClient;
  const urls = new Map<Role, string>();

  const apiUrl = (): string => urls.get('api') ?? urls.get('all') ?? '';

  beforeAll(async () => {
    redis = withRedis ? await startRedis() : undefined;
    // Gives the database and the settings; nothing of it serves, and no test below looks into it.
    service = await startSagaService({
      worker: false,
      relay: false,
      environment: redis === undefined ? {} : { REDIS_URL: redis.url },
    });
    roles = createRoleProcesses({ ...service.environment, WEBHOOKS_ALLOW_PRIVATE: 'true' });
    for (const role of wanted) urls.set(role, (await roles.start(role)).url);
    client = createHttpClient(apiUrl());
  });
  afterAll(async () => {
    await roles.stop();
    await service.stop();
    await redis?.stop();
  });
  beforeEach(async () => {
    const put = await client.put('/products/lamp', { name: 'Lamp', onHand: 5 });
    expect(put.body).toMatchObject({ onHand: 5, reserved: 0 });
  });

  const stock = async (): Promise<Product> => (await client.get('/products/lamp')).body as Product;
  const payments = async (orderId: string): Promise<Payments['payments']> =>
    ((await client.get(`/orders/${orderId}/payments`)).body as Payments).payments;
  const order = async (orderId: string): Promise<OrderReply> =>
    (await client.get(`/orders/${orderId}`)).body as OrderReply;
  const types = async (orderId: string): Promise<readonly string[]> =>
    ((await client.get(`/orders/${orderId}/events`)).body as Events).events.map((event) => event.eventType);
  /** With `Prefer: wait`, so that the answer is the order as it ended. */
  async function submit(orderId: string): Promise<Readonly<{ status: number; body: OrderReply }>> {
    const { status, body } = await client.post(`/orders/${orderId}/submit`, undefined, { Prefer: 'wait=20' });
    return { status, body: body as OrderReply };
  }
  const sagaOf = async (orderId: string): Promise<Saga> => (await client.get(`/orders/${orderId}/saga`)).body as Saga;
  const ended = async (orderId: string): Promise<OrderReply> =>
    await eventually(async () => {
      const view = await order(orderId);
      return view.status === 'submitted' ? undefined : view;
    });

  /** Submitted without waiting; its payment exists and waits for the gateway's callback. */
  async function pendingOrder(): Promise<Readonly<{ orderId: string; paymentId: string }>> {
    const orderId = await createOrder(client, { paymentMethod: 'pm_pending' });
    const submitted = await client.post(`/orders/${orderId}/submit`);
    expect(submitted).toMatchObject({ status: 202, body: { orderId, status: 'submitted' } });
    const paymentId = await eventually(async () => (await payments(orderId))[0]?.paymentId);
    return { orderId, paymentId };
  }

  it('is ready, in every process', async () => {
    for (const url of urls.values()) {
      await eventually(async () => ((await createHttpClient(url).get('/readyz')).status === 200 ? true : undefined));
      expect((await createHttpClient(url).get('/healthz')).status).toBe(200);
    }
  });

  it('confirms an order that can be fulfilled, and tells its story', async () => {
    const orderId = await createOrder(client);
    const submitted = await submit(orderId);
    expect(submitted).toMatchObject({ status: 200, body: { orderId, status: 'confirmed' } });
    expect(await stock()).toMatchObject({ onHand: 3, reserved: 0, available: 3 });
    expect(await payments(orderId)).toEqual([
      { paymentId: submitted.body.paymentId, status: 'charged', amount: 3000, refunded: 0, currency: 'EUR' },
    ]);
    expect(await types(orderId)).toEqual(['order.created', 'order.item_added', 'order.submitted', 'order.confirmed']);

    // Set by the handler of payment.completed, in the relay or, with Redis, in the consumer.
    const paid = await eventually(async () => {
      const view = await order(orderId);
      return view.paidAt === undefined ? undefined : view;
    });
    expect(paid.paymentId).toBe(submitted.body.paymentId);

    const saga = await sagaOf(orderId);
    expect(saga).toMatchObject({
      workflowId: `order-saga-${orderId}`,
      status: 'Confirmed',
      steps: ['reserve', 'charge', 'confirm'].map((name) => ({ name, state: 'done', attempts: 1 })),
    });
    expect(saga.webUrl).toBe(
      `${services().temporalUiUrl}/namespaces/default/workflows/order-saga-${orderId}/${saga.runId}/history`,
    );
    // The Web UI's own back end knows the run by that address.
    const run = await fetch(
      `${services().temporalUiUrl}/api/v1/namespaces/default/workflows/order-saga-${orderId}?execution.runId=${saga.runId}`,
    );
    expect(await run.json()).toMatchObject({ workflowExecutionInfo: { execution: { runId: saga.runId } } });
  });

  it('fails an order whose payment is declined, and says so', async () => {
    const orderId = await createOrder(client, { paymentMethod: 'pm_declined' });
    const { status, body } = await submit(orderId);
    expect({ status, order: body.status }).toEqual({ status: 200, order: 'failed' });
    expect(body.failureReason).toMatch(/declined/);
    expect(await stock()).toMatchObject({ onHand: 5, reserved: 0 });
    expect(await payments(orderId)).toMatchObject([{ status: 'declined' }]);
    expect(await sagaOf(orderId)).toMatchObject({ status: 'Failed' });
  });

  it('fails an order that exceeds the stock, and says so', async () => {
    const orderId = await createOrder(client, { quantity: 9 });
    const { status, body } = await submit(orderId);
    expect({ status, order: body.status }).toEqual({ status: 200, order: 'failed' });
    expect(body.failureReason).toMatch(/out-of-stock/);
    expect(await stock()).toMatchObject({ onHand: 5, reserved: 0 });
    expect(await payments(orderId)).toEqual([]);
  });

  it('cancels an order whose payment is pending, and holds nothing of it', async () => {
    const { orderId } = await pendingOrder();
    expect(await stock()).toMatchObject({ onHand: 5, reserved: 2 });
    const cancelled = await client.post(`/orders/${orderId}/cancel`, { reason: 'changed my mind' });
    expect(cancelled.status).toBe(202);
    expect(await ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await stock()).toMatchObject({ onHand: 5, reserved: 0 });
    expect(await payments(orderId)).toMatchObject([{ status: 'voided' }]);
    expect((await client.post(`/orders/${orderId}/cancel`, { reason: 'again' })).status).toBe(409);
  });

  it('confirms an order whose payment is pending when the signed callback says that it is paid', async () => {
    const { orderId, paymentId } = await pendingOrder();
    const callback = { type: 'payment.completed', paymentId, orderId, amount: 3000, currency: 'EUR' } as const;
    const forged = await sendCallback(client, `whsec_${Buffer.alloc(32, 9).toString('base64')}`, callback);
    expect(forged.status).toBe(401);
    expect((await sendCallback(client, testWebhookSecret, callback)).status).toBe(204);
    expect(await ended(orderId)).toMatchObject({ status: 'confirmed', paymentId });
    expect(await stock()).toMatchObject({ onHand: 3, reserved: 0 });
    expect(await payments(orderId)).toMatchObject([{ status: 'charged', amount: 3000 }]);
  });

  it('refunds a confirmed order that is cancelled', async () => {
    const orderId = await createOrder(client);
    await submit(orderId);
    expect((await client.post(`/orders/${orderId}/cancel`, { reason: 'wrong colour' })).status).toBe(202);
    await eventually(async () => ((await order(orderId)).status === 'cancelled' ? true : undefined));
    expect(await stock()).toMatchObject({ onHand: 5, reserved: 0 });
    expect(await payments(orderId)).toMatchObject([{ status: 'refunded', amount: 3000, refunded: 3000 }]);
  });

  it(
    'welcomes a user who orders, confirms the order by mail, and counts each event once',
    { timeout: 120_000 },
    async () => {
      const email = 'ada@example.com';
      const { userId } = (await client.post('/users', { email })).body as { userId: string };
      const orderId = await createOrder(client, { customerId: userId });
      expect(await submit(orderId)).toMatchObject({ status: 200, body: { status: 'confirmed' } });
      const subjects = await eventually(async () => {
        const found = subjectsTo(roles.dataDir, email);
        return await Promise.resolve(found.length >= 2 ? found : undefined);
      });
      expect(subjects).toHaveLength(2);
      const log = (await client.get('/events?type=order.submitted&limit=100')).body as Events;
      await eventually(async () => {
        const found = await Promise.all([...urls.values()].map(scrape));
        const counted = (name: string): number =>
          Math.max(...found.map((metrics) => metrics.value(name, { tenant: 'default' }) ?? 0));
        const isComplete = counted('orders_submitted_total') === log.events.length;
        return isComplete && counted('users_created_total') === 1 ? true : undefined;
        // Of a busy machine, whose looks take long, the next one is long in coming.
      }, 90_000);
    },
  );

  it('tells a registered receiver of an order, once, by signed CloudEvents', { timeout: 60_000 }, async () => {
    const receiver = await startWebhookReceiver();
    try {
      const events = ['order.submitted', 'order.confirmed'];
      const { body } = await client.post('/webhook-endpoints', { url: receiver.url, events });
      const { id, secret } = body as { id: string; secret: string };
      const orderId = await createOrder(client, { customerId: 'ada' });
      await submit(orderId);
      await eventually(async () => await Promise.resolve(receiver.received.length >= 2 ? true : undefined), 30_000);
      const told = receiver.received.map((received) => {
        verified(secret, received);
        return HTTP.toEvent({ headers: received.headers, body: received.body }) as CloudEvent<{ orderId: string }>;
      });
      expect(told.map(({ type, data }) => [type, data?.orderId])).toEqual([
        ['com.athyper.order.submitted.v1', orderId],
        ['com.athyper.order.confirmed.v1', orderId],
      ]);
      expect(receiver.ids()).toEqual(told.map((event) => event.id));
      const deleted = await fetch(`${apiUrl()}/webhook-endpoints/${id}`, { method: 'DELETE' });
      expect(deleted.status).toBe(204);
    } finally {
      await receiver.close();
    }
  });

  it('counts what it did, in every process', async () => {
    const found = await Promise.all([...urls.values()].map(scrape));
    const most = (name: string, labels: Readonly<Record<string, string>>): number =>
      Math.max(...found.map((metrics) => metrics.value(name, labels) ?? 0));
    for (const metrics of found) expect(metrics.value('process_cpu_seconds_total')).toBeGreaterThan(0);
    expect(most('outbox_attempts_total', { destination: 'temporal', outcome: 'done' })).toBeGreaterThan(0);
    expect(most('handler_seconds_count', { handler: 'orders.record-payment' })).toBeGreaterThan(0);
    expect(most('http_request_seconds_count', { route: '/orders/:orderId/submit', status: '200' })).toBeGreaterThan(0);
    // Whoever can look at the database says how late the outbox is, also where no relay runs.
    expect(found.filter((metrics) => metrics.value('outbox_oldest_pending_seconds') !== undefined)).not.toEqual([]);
  });
});
