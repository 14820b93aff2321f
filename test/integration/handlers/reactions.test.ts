// What each event brings on, on both buses, judged by the jobs and the counters in PostgreSQL. Each event comes five times.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDurableEventBus } from '../../../src/bus/durable-event-bus.ts';
import { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import { catalogue, type EventType } from '../../../src/domain/catalogue.ts';
import type { StoredEvent } from '../../../src/domain/event.ts';
import { commandContext, newId } from '../../../src/domain/ids.ts';
import { createEventCodec } from '../../../src/event-store/event-codec.ts';
import { readEventCounters, type EventCounter } from '../../../src/handlers/event-counters.ts';
import type { ServiceJobs } from '../../../src/handlers/mail-jobs.ts';
import { registerEventHandlers } from '../../../src/handlers/register-event-handlers.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { createMetricsRegistry } from '../../../src/platform/metrics.ts';
import type { BusUnderTest } from '../../support/bus-contract.ts';
import { createJobTable, jobsCausedBy, tableOfJobs } from '../../support/job-table.ts';
import { makeRedisBus } from '../../support/redis-bus.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { startShop, type Shop } from '../../support/shop.ts';

const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];

let shop: Shop;
let redis: TestRedis;
beforeAll(async () => {
  shop = await startShop();
  await tableOfJobs.execute(shop.db);
  redis = await startRedis();
});
afterAll(async () => {
  await shop.stop();
  await redis.stop();
});

/** A tenant of its own for each test, so that what it counts is its own. */
const newTenant = () => ({ tenantId: `tenant-${randomUUID()}`, correlationId: 'test' });
type Tenant = ReturnType<typeof newTenant>;
const emailOf = (): string => `${randomUUID()}@example.com`;

async function user(tenant: Tenant): Promise<Readonly<{ userId: string; email: string }>> {
  return await shop.userCommands.create({ email: emailOf() }, tenant);
}

async function order(tenant: Tenant, customerId: string): Promise<string> {
  const input = { customerId, currency: 'EUR', paymentMethod: 'pm_ok', items };
  return (await shop.commands.create(input, tenant)).state.orderId;
}

async function submitted(tenant: Tenant, customerId: string): Promise<string> {
  const orderId = await order(tenant, customerId);
  await shop.commands.submit(orderId, tenant);
  return orderId;
}

async function stored(aggregateId: string, eventType: EventType): Promise<StoredEvent> {
  const event = (await shop.store.getEvents(aggregateId)).findLast((each) => each.eventType === eventType);
  if (event === undefined) throw new Error(`${aggregateId} has no ${eventType}`);
  return event;
}

async function counted(name: EventCounter, { tenantId }: Tenant): Promise<number> {
  const counts = await readEventCounters(shop.db);
  return counts.find((count) => count.name === name && count.tenant === tenantId)?.value ?? 0;
}

function makeInMemoryBus(): BusUnderTest {
  const bus = new InMemoryEventBus({ db: shop.db });
  return { bus, send: async (event) => await bus.deliver(event), reports: [] };
}

function makeConsumedBus(): BusUnderTest {
  const test = makeRedisBus({ db: shop.db, codec: createEventCodec(catalogue) }, redis.url);
  test.bus.consume();
  return test;
}

function registerOn({ bus }: BusUnderTest, jobQueue: ServiceJobs): () => Promise<string> {
  const metricsRegistry = createMetricsRegistry();
  const eventBus = createDurableEventBus<typeof catalogue>({
    append: async (event) => await shop.store.append(event),
    transport: bus,
  });
  registerEventHandlers(eventBus, { jobQueue, metricsRegistry, userRepository: shop.users });
  return async () => await metricsRegistry.text();
}

describe.each([
  ['in memory', makeInMemoryBus],
  ['Redis', makeConsumedBus],
])('the plain handlers on the bus: %s', (_, makeBus) => {
  let test: BusUnderTest;
  let metricsText: () => Promise<string>;
  beforeAll(() => {
    test = makeBus();
    metricsText = registerOn(test, createJobTable(shop.db));
  });
  afterAll(async () => await test.bus.close());

  /** Everything that was sent for this aggregate before is handled: its events keep their order. */
  async function settled(aggregateId: string): Promise<void> {
    const seen = Promise.withResolvers<void>();
    const unsubscribe = test.bus.subscribe('order.failed', (event) => {
      if (event.aggregateId === aggregateId) seen.resolve();
    });
    const payload = { orderId: aggregateId, reason: 'the last one' };
    const last = { eventId: newId(), eventType: 'order.failed', occurredAt: new Date(), aggregateId };
    const envelope = { aggregateType: 'order', metadata: { tenantId: 'default' }, version: 1_000, position: '1' };
    await test.send({ ...last, ...envelope, payload, schemaVersion: 1 });
    await seen.promise;
    unsubscribe();
  }

  async function fiveTimes(aggregateId: string, eventType: EventType): Promise<StoredEvent> {
    const event = await stored(aggregateId, eventType);
    for (let time = 0; time < 5; time += 1) await test.send(event);
    await settled(aggregateId);
    return event;
  }

  it('welcome a user that is created with one mail, and count it once', async () => {
    const tenant = newTenant();
    const { userId, email } = await user(tenant);
    const { eventId } = await fiveTimes(userId, 'user.created');
    expect(await jobsCausedBy(shop.db, eventId)).toEqual([
      {
        name: 'send-mail',
        key: `welcome:${eventId}`,
        data: { template: 'welcome', to: email, eventId, data: {} },
        metadata: { ...tenant, causationId: eventId },
      },
    ]);
    expect(await counted('users_created_total', tenant)).toBe(1);
  });

  it('confirm a changed address to the new one', async () => {
    const tenant = newTenant();
    const { userId, email: oldEmail } = await user(tenant);
    const newEmail = emailOf();
    await shop.userCommands.changeEmail(userId, newEmail, tenant);
    const { eventId } = await fiveTimes(userId, 'user.email_updated');
    expect(await jobsCausedBy(shop.db, eventId)).toMatchObject([
      { name: 'send-mail', data: { template: 'email-changed-confirmation', to: newEmail, data: { oldEmail } } },
    ]);
    expect(await counted('users_created_total', tenant)).toBe(0);
  });

  it('confirm a submitted order to the address that its customer has by now, and count it once', async () => {
    const tenant = newTenant();
    const { userId } = await user(tenant);
    const orderId = await submitted(tenant, userId);
    const to = emailOf();
    await shop.userCommands.changeEmail(userId, to, tenant);
    const { eventId } = await fiveTimes(orderId, 'order.submitted');
    const data = { orderId, items, total: 3000, currency: 'EUR' };
    expect(await jobsCausedBy(shop.db, eventId)).toMatchObject([
      { name: 'send-mail', data: { template: 'order-confirmation', to, eventId, data } },
    ]);
    expect(await counted('orders_submitted_total', tenant)).toBe(1);
  });

  it('send no mail to a customer who is no user, or another tenant’s, and count what was not sent', async () => {
    const tenant = newTenant();
    const stranger = await user(newTenant());
    const before = await withoutAddress();
    for (const customerId of ['c-1', newId(), stranger.userId]) {
      const orderId = await submitted(tenant, customerId);
      const { eventId } = await fiveTimes(orderId, 'order.submitted');
      expect(await jobsCausedBy(shop.db, eventId)).toEqual([]);
    }
    expect(await withoutAddress()).toBe(before + 3);
    expect(await counted('orders_submitted_total', tenant)).toBe(3);
  });

  async function withoutAddress(): Promise<number> {
    const line = /^mails_without_address_total\{template="order-confirmation"\} (\d+)$/m.exec(await metricsText());
    return Number(line?.[1] ?? 0);
  }

  it('tell the customer of a cancelled order, and look after its money once', async () => {
    const tenant = newTenant();
    const { userId, email } = await user(tenant);
    const orderId = await order(tenant, userId);
    await shop.commands.cancel(orderId, 'too dear', 'customer', tenant);
    const { eventId } = await fiveTimes(orderId, 'order.cancelled');
    const jobs = await jobsCausedBy(shop.db, eventId);
    expect(jobs.toSorted((a, b) => a.name.localeCompare(b.name))).toMatchObject([
      { name: 'refund', key: orderId, data: { orderId } },
      {
        name: 'send-mail',
        data: { template: 'order-cancelled', to: email, data: { orderId, reason: 'too dear' } },
      },
    ]);
  });

  it('have a confirmed order shipped, by one job', async () => {
    const tenant = newTenant();
    const orderId = await submitted(tenant, 'c-1');
    const confirming = await loadOrder(shop.repository, orderId, commandContext(tenant));
    confirming.markAsConfirmed(newId());
    await shop.repository.save(confirming);
    const { eventId } = await fiveTimes(orderId, 'order.confirmed');
    expect(await jobsCausedBy(shop.db, eventId)).toMatchObject([
      { name: 'create-shipment', key: orderId, data: { orderId }, metadata: { causationId: eventId } },
    ]);
  });
});

describe('a handler that fails', () => {
  it('holds up no other: the money is looked after while mails cannot be enqueued, and comes to its end afterwards', async () => {
    const jobs = createJobTable(shop.db);
    let isBroken = true;
    const jobQueue: ServiceJobs = {
      async add(name, data, options) {
        if (isBroken && name === 'send-mail') throw new Error('no mail today');
        await jobs.add(name, data, options);
      },
    };
    const test = makeInMemoryBus();
    registerOn(test, jobQueue);
    const tenant = newTenant();
    const { userId } = await user(tenant);
    const orderId = await order(tenant, userId);
    await shop.commands.cancel(orderId, 'too dear', 'customer', tenant);
    const event = await stored(orderId, 'order.cancelled');
    const names = async () => (await jobsCausedBy(shop.db, event.eventId)).map(({ name }) => name);
    await expect(test.send(event)).rejects.toThrow('1 of 2 handlers failed (orders.cancelled-mail)');
    expect(await names()).toEqual(['refund']);
    isBroken = false;
    await test.send(event);
    expect(await names()).toEqual(['refund', 'send-mail']);
    await test.bus.close();
  });
});
