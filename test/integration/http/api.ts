// The HTTP application on a database of its own, with everything real but Temporal's view of a saga.
import { once } from 'node:events';
import { createServer } from 'node:http';
import pino from 'pino';
import { expect } from 'vitest';
import { z } from 'zod';
import { catalogue } from '../../../src/domain/catalogue.ts';
import { jobCatalogue } from '../../../src/domain/job-catalogue.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { createEventCodec } from '../../../src/event-store/event-codec.ts';
import { PgEventStore } from '../../../src/event-store/event-store.ts';
import { createUnitOfWork } from '../../../src/event-store/unit-of-work.ts';
import { createApp, type HttpDeps } from '../../../src/http/app.ts';
import { createProducts } from '../../../src/inventory/products.ts';
import { createOrderCommands } from '../../../src/orders/order-commands.ts';
import { createOrderQueries } from '../../../src/orders/order-queries.ts';
import { createOrderRepository } from '../../../src/orders/order-repository.ts';
import { createLedgerGateway } from '../../../src/payments/ledger-gateway.ts';
import { connectDatabase, type Db } from '../../../src/platform/database.ts';
import { createMetricsRegistry } from '../../../src/platform/metrics.ts';
import { afterDeadLetter, isDestination } from '../../../src/sagas/event-routes.ts';
import { createUserCommands } from '../../../src/users/user-commands.ts';
import { createUserRepository } from '../../../src/users/user-repository.ts';
import { createAddressGuard } from '../../../src/webhooks/address-guard.ts';
import { createWebhookEndpoints } from '../../../src/webhooks/webhook-endpoints.ts';
import { createTestDatabase } from '../../support/database.ts';

export const webhookSecret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';

export type Reply = Readonly<{ status: number; headers: Headers; body: unknown; text: string }>;
export type Call = Readonly<{ body?: unknown; raw?: string; headers?: Readonly<Record<string, string>> }>;
export type Api = Readonly<{
  url: string;
  db: Db;
  deps: HttpDeps;
  /** Every line that was logged. */
  logged: readonly string[];
  call(method: string, path: string, call?: Call): Promise<Reply>;
  /** The same application on the same database, with other parts. */
  with(parts: Partial<HttpDeps>): Promise<Api>;
  close(): Promise<void>;
}>;

/** @param way to the database, where it is not the straight one */
export async function startApi(
  parts: Partial<HttpDeps> = {},
  way: (url: string) => Promise<string> = async (url) => await Promise.resolve(url),
): Promise<Api> {
  const database = await createTestDatabase();
  const db = connect(await way(database.url));
  const lines: string[] = [];
  const served = await serve({ ...compose(db, lines), ...parts }, lines);
  return {
    ...served,
    async close() {
      await served.close();
      await db.destroy();
      await database.drop();
    },
  };
}

export const connect = (url: string): Db =>
  connectDatabase({ url, poolSize: 5, applicationName: 'http-test', onIdleError: () => undefined });

function compose(db: Db, lines: string[]): HttpDeps {
  const onCommitted = () => undefined;
  const store = new PgEventStore({ db, codec: createEventCodec(catalogue), routes: {}, onCommitted });
  const unitOfWork = createUnitOfWork({ db, store, onCommitted });
  const repository = createOrderRepository({ store, unitOfWork });
  const users = createUserRepository({ db, unitOfWork });
  const linkToRun = (workflowId: string) => ({ workflowId, webUrl: `http://temporal.test/workflows/${workflowId}` });
  return {
    logger: pino({ level: 'info' }, { write: (line) => void lines.push(line) }),
    db,
    store,
    unitOfWork,
    orders: createOrderCommands({ repository }),
    orderQueries: createOrderQueries(db),
    products: createProducts(db),
    users,
    userCommands: createUserCommands({ users }),
    gateway: createLedgerGateway(db),
    webhookSecret,
    sagaViews: {
      find: async () => undefined,
      ofRun: async (workflowId, { ended = 'Running' }) => ({
        ...linkToRun(workflowId),
        runId: null,
        status: ended,
        steps: [],
      }),
      linkOf: (orderId) => linkToRun(orderSagaId(orderId)),
      linkToRun,
    },
    checks: {},
    metrics: createMetricsRegistry(),
    observeRequest: () => undefined,
    destinations: afterDeadLetter,
    isDestination,
    webhooks: {
      endpoints: createWebhookEndpoints(db),
      guard: createAddressGuard({ allowPrivate: false }),
      eventTypes: ['order.confirmed', 'order.cancelled'],
    },
    jobNames: Object.keys(jobCatalogue),
    poke: () => undefined,
  };
}

async function serve(deps: HttpDeps, lines: readonly string[]): Promise<Api> {
  const server = createServer(createApp(deps));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  const url = `http://127.0.0.1:${address.port}`;
  return {
    url,
    db: deps.db,
    deps,
    logged: lines,
    call: async (method, path, given = {}) => await call(url, method, path, given),
    with: async (parts) => await serve({ ...deps, ...parts }, lines),
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

async function call(url: string, method: string, path: string, { body, raw, headers }: Call): Promise<Reply> {
  const text = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  const type = text === undefined ? {} : { 'Content-Type': 'application/json' };
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { ...type, ...headers },
    ...(text === undefined ? {} : { body: text }),
  });
  const answered = await response.text();
  const isJson = /json/.test(response.headers.get('Content-Type') ?? '');
  const parsed: unknown = isJson && answered !== '' ? JSON.parse(answered) : undefined;
  return { status: response.status, headers: response.headers, body: parsed, text: answered };
}

export const orderOf = (reply: Reply) =>
  z.looseObject({ orderId: z.string(), status: z.string(), version: z.number() }).parse(reply.body);

export const orderBody = (more: Readonly<Record<string, unknown>> = {}) => ({
  customerId: 'ada@example.com',
  currency: 'EUR',
  items: [{ productId: 'tea', quantity: 2, price: 350 }],
  ...more,
});

export async function makeOrder(api: Api, more: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const made = await api.call('POST', '/orders', { body: orderBody(more) });
  expect(made.status).toBe(201);
  return orderOf(made).orderId;
}

export async function submitOrder(api: Api): Promise<string> {
  const orderId = await makeOrder(api);
  const submitted = await api.call('POST', `/orders/${orderId}/submit`);
  expect(submitted.status).toBe(202);
  return orderId;
}

/** Types of the order's events, as stored. */
export async function eventTypes(api: Api, orderId: string): Promise<readonly string[]> {
  const rows = await api.db
    .selectFrom('events')
    .select('event_type')
    .where('aggregate_id', '=', orderId)
    .orderBy('version')
    .execute();
  return rows.map((row) => row.event_type);
}

/** What every refusal looks like. */
export function expectProblem(reply: Reply, status: number, code: string, field?: string): void {
  expect(reply.body).toMatchObject({
    type: `urn:problem-type:athyper-sagas:${code}`,
    status,
    title: expect.stringMatching(/^[A-Z]/),
    detail: expect.stringMatching(/./),
    ...(field === undefined ? {} : { field }),
  });
  if (field === undefined) expect(reply.body).not.toHaveProperty('field');
  expect(reply.status).toBe(status);
  expect(reply.headers.get('Content-Type')).toBe('application/problem+json');
}

/** A 400 that names exactly these fields, in any order. */
export function expectInvalid(reply: Reply, ...fields: readonly string[]): void {
  expectProblem(reply, 400, 'invalid-input', expect.any(String));
  const { errors } = z
    .looseObject({ errors: z.array(z.object({ field: z.string(), message: z.string() })) })
    .parse(reply.body);
  expect(errors.map((error) => error.field).toSorted()).toEqual([...fields].toSorted());
}
