// The service without its HTTP face, in the test's process: parts, worker and relay on a database of its own and a task
// queue of its own, on the real Temporal server.
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { activityInfo } from '@temporalio/activity';
import { sql } from 'kysely';
import type { EventMetadata } from '../../src/domain/event.ts';
import { newId, stepContext } from '../../src/domain/ids.ts';
import { orderSagaId } from '../../src/domain/saga-contract.ts';
import { createProducts } from '../../src/inventory/products.ts';
import { createOrderCommands, type NewOrder, type OrderCommands } from '../../src/orders/order-commands.ts';
import { createOrderQueries, type OrderView } from '../../src/orders/order-queries.ts';
import { loadOrder } from '../../src/orders/order-repository.ts';
import { createPaymentCallbacks } from '../../src/payments/payment-callbacks.ts';
import { readSettings } from '../../src/platform/config.ts';
import { stopAll, type Running } from '../../src/platform/lifecycle.ts';
import { createLogger } from '../../src/platform/logger.ts';
import type { Extension } from '../../src/processes/extension.ts';
import { migrateAll } from '../../src/processes/migrate.ts';
import { createParts, type Parts } from '../../src/processes/parts.ts';
import { startRelay } from '../../src/processes/relay.ts';
import { installTemporalRuntime, startWorker } from '../../src/processes/worker.ts';
import { createTestDatabase } from './database.ts';
import { services } from './services.ts';

export const metadata: EventMetadata = { tenantId: 'default', correlationId: 'test' };
export const testWebhookSecret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

let installed = false;
/** Before anything else of Temporal's native side runs in this process. */
export function installRuntimeOnce(): void {
  if (!installed) installTemporalRuntime(createLogger({ level: 'silent', role: 'test' }));
  installed = true;
}

export type ServiceOptions = Readonly<{
  worker?: boolean;
  relay?: boolean;
  /** Before the relay's router asks the gateway for a payment. */
  beforeGet?: () => Promise<void>;
  /** Variables as in the environment. */
  environment?: Readonly<Record<string, string>>;
  /** Their tables are made, too. */
  extensions?: readonly Extension[];
}>;

/** Run before the real thing, or after it, in the worker's steps only; a throw takes its place. Unset: nothing happens. */
export type StepFaults = {
  unitOfWork?: () => Promise<void>;
  /** After the commit. */
  committed?: () => Promise<void>;
  capture?: () => Promise<void>;
  afterCapture?: () => Promise<void>;
  refund?: () => Promise<void>;
  afterRefund?: () => Promise<void>;
  prepare?: () => Promise<void>;
  get?: () => Promise<void>;
};

export type SagaService = Readonly<{
  parts: Parts;
  faults: StepFaults;
  /**
   * Ids of runs whose attempts do nothing more, though one may be under way: as it is once a run has been gone for the
   * time of grace.
   */
  goneRuns: Set<string>;
  environment: Readonly<Record<string, string>>;
  commands: OrderCommands;
  order(orderId: string): Promise<OrderView>;
  /** Creates and submits. */
  submit(order?: Partial<NewOrder>): Promise<string>;
  stock(onHand: number, productId?: string): Promise<void>;
  ended(orderId: string): Promise<OrderView>;
  ledger(orderId: string): Promise<Ledger>;
  stop(): Promise<void>;
}>;

/** What is left at rest: judged from the tables. `net` is captured less refunded, in minor units. */
export type Ledger = Readonly<{ onHand: number; reserved: number; net: number; captures: number; refunds: number }>;

export async function startSagaService(options: ServiceOptions = {}): Promise<SagaService> {
  const database = await createTestDatabase();
  const environment = {
    DATABASE_URL: database.url,
    TEMPORAL_ADDRESS: services().temporalAddress,
    TEMPORAL_UI_URL: services().temporalUiUrl,
    TEMPORAL_TASK_QUEUE: `test-${randomUUID()}`,
    PAYMENTS_WEBHOOK_SECRET: testWebhookSecret,
    LOG_LEVEL: 'silent',
    SHUTDOWN_GRACE_SECONDS: '10',
    ...options.environment,
  };
  const { extensions = [] } = options;
  if (extensions.length > 0) await migrateAll(database.url, extensions);
  const parts = createParts(readSettings('all', environment), { role: 'test', runsLoops: true, extensions });
  const running: Running[] = [];
  const faults: StepFaults = {};
  const goneRuns = new Set<string>();
  if (options.relay ?? true) running.push(startRelay(withBeforeGet(parts, options.beforeGet)));
  if (options.worker ?? true) {
    installRuntimeOnce();
    const worker = startWorker(withFaults(parts, faults, goneRuns));
    running.push(worker);
    // Bundling the workflows blocks this process, on a busy machine for longer than a connection may take.
    await eventually(async () => (worker.isPolling() ? true : undefined), 110_000);
  }
  const commands = createOrderCommands({ repository: parts.repository });
  const queries = createOrderQueries(parts.db);

  async function order(orderId: string): Promise<OrderView> {
    const found = await queries.findOrder('default', orderId);
    if (found === undefined) throw new Error(`there is no order ${orderId}`);
    return found;
  }

  return {
    parts,
    faults,
    goneRuns,
    environment,
    commands,
    order,
    async submit(given = {}) {
      const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];
      const input = { customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok', items, ...given };
      const created = await commands.create(input, metadata);
      await commands.submit(created.state.orderId, metadata);
      return created.state.orderId;
    },
    async stock(onHand, productId = 'lamp') {
      await createProducts(parts.db).put('default', productId, { name: productId, onHand });
    },
    ended: async (orderId) =>
      await eventually(async () => {
        const view = await order(orderId);
        return ['confirmed', 'failed', 'cancelled'].includes(view.status) ? view : undefined;
      }),
    ledger: async (orderId) => await readLedger(parts, orderId),
    async stop() {
      await stopAll([...running, { stop: async () => await parts.close() }]);
      await database.drop();
    },
  };
}

function withBeforeGet(parts: Parts, beforeGet: ServiceOptions['beforeGet']): Parts {
  const { gateway } = parts;
  const get: typeof gateway.get = async (paymentId) => {
    await beforeGet?.();
    return await gateway.get(paymentId);
  };
  return { ...parts, gateway: { ...gateway, get } };
}

function withFaults(parts: Parts, faults: StepFaults, goneRuns: ReadonlySet<string>): Parts {
  const { gateway, unitOfWork } = parts;
  const refuseTheGone = (): void => {
    if (goneRuns.has(activityInfo().workflowExecution?.runId ?? '')) throw new Error('its run is gone');
  };
  return {
    ...parts,
    unitOfWork: async (work) => {
      await faults.unitOfWork?.();
      refuseTheGone();
      const result = await unitOfWork(work);
      await faults.committed?.();
      return result;
    },
    gateway: {
      ...gateway,
      prepare: async (request) => {
        await faults.prepare?.();
        refuseTheGone();
        return await gateway.prepare(request);
      },
      capture: async (paymentId) => {
        await faults.capture?.();
        refuseTheGone();
        const payment = await gateway.capture(paymentId);
        await faults.afterCapture?.();
        return payment;
      },
      refund: async (paymentId, refund) => {
        await faults.refund?.();
        refuseTheGone();
        const refunded = await gateway.refund(paymentId, refund);
        await faults.afterRefund?.();
        return refunded;
      },
      get: async (paymentId) => {
        await faults.get?.();
        return await gateway.get(paymentId);
      },
    },
  };
}

async function readLedger({ db }: Parts, orderId: string): Promise<Ledger> {
  const { rows } = await sql<Ledger>`
    select
      (select coalesce(sum(on_hand), 0)::int from products) as "onHand",
      (select coalesce(sum(reserved), 0)::int from products) as reserved,
      coalesce(sum(case kind when 'capture' then ledger_entries.amount else -ledger_entries.amount end), 0)::int as net,
      count(*) filter (where kind = 'capture')::int as captures,
      count(*) filter (where kind = 'refund')::int as refunds
    from ledger_entries join payments using (payment_id)
    where payments.order_id = ${orderId}`.execute(db);
  const [row] = rows;
  if (row === undefined) throw new Error('an aggregate has a row');
  return row;
}

/** Waits for a condition, never for a time: undefined means not yet. */
export async function eventually<T>(probe: () => Promise<T | undefined>, milliseconds = 30_000): Promise<T> {
  const deadline = Date.now() + milliseconds;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (Date.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${probe.toString()}`);
    await delay(25);
  }
}

export const eventTypes = async (service: SagaService, aggregateId: string): Promise<readonly string[]> =>
  (await service.parts.store.getEvents(aggregateId)).map((event) => event.eventType);

export async function stepsOf(service: SagaService, orderId: string): Promise<Readonly<Record<string, string>>> {
  const rows = await service.parts.db
    .selectFrom('saga_steps')
    .select(['step', 'state'])
    .where('workflow_id', '=', orderSagaId(orderId))
    .execute();
  return Object.fromEntries(rows.map((row) => [row.step, row.state]));
}

/** A confirmed order where no worker runs. @returns its id */
export async function confirmWithoutSaga(service: SagaService, customerId: string): Promise<string> {
  const { repository } = service.parts;
  const orderId = await service.submit({ customerId });
  const order = await loadOrder(repository, orderId, stepContext(metadata, orderId, 'confirm'));
  order.markAsConfirmed(newId());
  await repository.save(order);
  return orderId;
}

type Callback = Readonly<{
  orderId: string;
  paymentId: string;
  outcome: 'completed' | 'failed';
  reason?: string;
  callbackId?: string;
}>;

/** The gateway's callback, as the webhook route passes it on when the signature is good. */
export async function callback({ parts }: SagaService, given: Callback): Promise<void> {
  const callbacks = createPaymentCallbacks({ unitOfWork: parts.unitOfWork, gateway: parts.gateway });
  const { amount, currency } = await parts.db
    .selectFrom('payments')
    .select(['amount', 'currency'])
    .where('payment_id', '=', given.paymentId)
    .executeTakeFirstOrThrow();
  const { orderId, paymentId, outcome, reason } = given;
  await callbacks.receive(
    given.callbackId ?? randomUUID(),
    { orderId, paymentId, outcome, amount, currency, reason },
    metadata,
  );
}

/** The saga has asked for the payment and waits for its callback. @returns the payment's id */
export async function untilPaymentIsPending({ parts }: SagaService, orderId: string): Promise<string> {
  return await eventually(async () => {
    const row = await parts.db
      .selectFrom('payments')
      .select(['payment_id', 'capture_attempts'])
      .where('order_id', '=', orderId)
      .executeTakeFirst();
    return row !== undefined && row.capture_attempts > 0 ? row.payment_id : undefined;
  });
}

/** The run has scheduled a step that does not get through. */
export async function untilPending({ parts }: SagaService, workflowId: string, activity: string): Promise<void> {
  await eventually(async () => {
    // Not found: not started yet.
    const run = await parts.temporal.workflow
      .getHandle(workflowId)
      .describe()
      .catch(() => undefined);
    const raw = run?.raw;
    return raw?.pendingActivities?.some(({ activityType }) => activityType?.name === activity) === true
      ? true
      : undefined;
  });
}

/** A place in a step where it waits for the test. */
export function createHold(): Readonly<{ wait: () => Promise<void>; reached: Promise<void>; release: () => void }> {
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  return {
    wait: async () => {
      reached.resolve();
      await released.promise;
    },
    reached: reached.promise,
    release: released.resolve,
  };
}
