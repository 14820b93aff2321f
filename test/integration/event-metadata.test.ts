// What a request says of itself goes all the way: into each event of the order's story, whoever writes it, and to the
// handlers behind each bus.
import pino from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { BusTransport } from '../../src/bus/event-bus.ts';
import { InMemoryEventBus } from '../../src/bus/in-memory-event-bus.ts';
import { RedisEventBus } from '../../src/bus/redis-event-bus.ts';
import type { EventOf } from '../../src/domain/catalogue.ts';
import { causedBy, type EventMetadata, type StoredEvent } from '../../src/domain/event.ts';
import { derivedId, newId } from '../../src/domain/ids.ts';
import { orderSagaId } from '../../src/domain/saga-contract.ts';
import { findFreePort } from '../../src/embedded/children/free-port.ts';
import type { Running } from '../../src/platform/lifecycle.ts';
import { startApi } from '../../src/processes/api.ts';
import { createHttpClient, createOrder, type HttpClient, type OrderReply } from '../support/http-client.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { eventually, startSagaService, type SagaService } from '../support/saga-service.ts';

const headers = {
  'X-Correlation-Id': 'story-1',
  'X-User-Id': 'ada@example.com',
  'X-Tenant-Id': 'acme',
  traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
};
const carried = {
  tenantId: 'acme',
  userId: 'ada@example.com',
  correlationId: 'story-1',
  traceparent: headers.traceparent,
};

let service: SagaService;
let api: Running;
let client: HttpClient;
beforeAll(async () => {
  const port = await findFreePort();
  service = await startSagaService({ environment: { PORT: String(port), HOST: '127.0.0.1' } });
  api = await startApi(service.parts, {});
  client = createHttpClient(`http://127.0.0.1:${port}`, headers);
  await client.put('/products/lamp', { name: 'Lamp', onHand: 5 });
});
afterAll(async () => {
  await api.stop();
  await service.stop();
});

const log = async (): Promise<readonly StoredEvent[]> => (await service.parts.store.readLog({ limit: 1000 })).events;
const untilIn = async (aggregateId: string, eventType: string): Promise<readonly StoredEvent[]> =>
  await eventually(async () => {
    const events = await log();
    const found = events.some((event) => event.aggregateId === aggregateId && event.eventType === eventType);
    return found ? events : undefined;
  });

async function submitted(paymentMethod: string): Promise<string> {
  const orderId = await createOrder(client, { paymentMethod });
  const reply = await client.post(`/orders/${orderId}/submit`, {}, { Prefer: 'wait=30' });
  expect((reply.body as OrderReply).status).toMatch(/^(confirmed|failed)$/);
  return orderId;
}

/** Each cause is an event of the same log that was there before. */
function expectCausesBefore(events: readonly StoredEvent[]): void {
  for (const [index, { metadata }] of events.entries()) {
    if (metadata.causationId === undefined) continue;
    expect(events.slice(0, index).map(({ eventId }) => eventId)).toContain(metadata.causationId);
  }
}

describe('the story of an order', () => {
  it('carries correlation, actor, tenant and trace in every event, and in the steps’ own the event that caused them', async () => {
    const confirmed = await submitted('pm_ok');
    const declined = await submitted('pm_declined');
    // A cancellation of a confirmed order starts the refund.
    await client.post(`/orders/${confirmed}/cancel`, { reason: 'changed my mind' });
    const events = await untilIn(confirmed, 'order.cancelled');
    for (const event of events) expect(event.metadata, event.eventType).toMatchObject(carried);
    expectCausesBefore(events);

    const idOf = (orderId: string, eventType: string): string | undefined =>
      events.find((event) => event.aggregateId === orderId && event.eventType === eventType)?.eventId;
    const causes = events
      .filter(({ payload }) => (payload as { orderId: string }).orderId === confirmed)
      .map(({ eventType, metadata }) => [eventType, metadata.causationId, metadata.sagaId]);
    const submission = [idOf(confirmed, 'order.submitted'), orderSagaId(confirmed)];
    const refund = [idOf(confirmed, 'order.cancellation_requested'), `refund-order-${confirmed}`];
    expect(causes).toEqual([
      ['order.created', undefined, undefined],
      ['order.item_added', undefined, undefined],
      ['order.submitted', undefined, undefined],
      ['inventory.reserved', ...submission],
      ['payment.completed', ...submission],
      ['order.confirmed', ...submission],
      ['order.cancellation_requested', undefined, undefined],
      ['payment.refunded', ...refund],
      ['inventory.released', ...refund],
      ['order.cancelled', ...refund],
    ]);
    const failed = events.find(({ aggregateId, version }) => aggregateId === declined && version === 4);
    expect(failed).toMatchObject({
      eventType: 'order.failed',
      metadata: { causationId: idOf(declined, 'order.submitted') },
    });
  });

  it('has its correlation id among the attributes of every line that a step logs', async () => {
    const lines: string[] = [];
    // The runtime's logger is one per process, and silent here: what it would be given is asked for.
    const { activityLogAttributes } = await import('../../src/processes/activity-log-attributes.ts');
    const { inbound, outbound } = activityLogAttributes({} as Parameters<typeof activityLogAttributes>[0]);
    await inbound?.execute?.({ args: [{ orderId: 'o', metadata: carried }], headers: {} }, async () => {
      lines.push(JSON.stringify(outbound?.getLogAttributes?.({ activityType: 'chargePayment' }, (given) => given)));
    });
    expect(lines).toEqual(['{"activityType":"chargePayment","correlationId":"story-1"}']);
  });
});

describe('a handler', () => {
  let redis: TestRedis;
  beforeAll(async () => {
    redis = await startRedis();
  });
  afterAll(async () => await redis.stop());

  const decode = (row: Parameters<typeof service.parts.codec.decode>[0]) => service.parts.codec.decode(row);
  const overRedis = (): RedisEventBus => {
    const logger = pino({ level: 'silent' });
    const park = async (): Promise<void> => undefined;
    return new RedisEventBus({
      url: redis.url,
      db: service.parts.db,
      logger,
      destination: 'bus',
      park,
      decode,
      prefix: newId(),
    });
  };

  it.each<[string, () => BusTransport & { consume?(): void }]>([
    ['in memory', () => new InMemoryEventBus({ db: service.parts.db })],
    ['behind Redis', overRedis],
  ])(
    '%s sees what was stored, and what it appends carries it on, with the handled event as its cause',
    async (name, make) => {
      const bus = make();
      const orderId = await createOrder(client);
      const [created] = await service.parts.store.getEvents(orderId);
      if (created === undefined) throw new Error('there is no order');
      const seen = Promise.withResolvers<EventMetadata | undefined>();
      const userId = newId();
      bus.subscribe(
        'order.created',
        async (event, { tx }) => {
          const caused: EventOf<'user.created'> = {
            eventId: derivedId('test', event.eventId, name),
            eventType: 'user.created',
            occurredAt: new Date(),
            aggregateId: userId,
            aggregateType: 'user',
            payload: { userId, email: 'ada@example.com', tenantId: 'acme' },
            metadata: causedBy(event),
          };
          await service.parts.store.append(caused, { tx });
          seen.resolve(event.metadata);
        },
        { name: `test.caused ${name}` },
      );
      bus.consume?.();
      await bus.deliver({ ...created, metadata: { ...created.metadata, sagaId: 'a-saga' } });
      expect(await seen.promise).toEqual({ ...carried, sagaId: 'a-saga' });
      const [caused] = await eventually(async () => {
        const stream = await service.parts.store.getEvents(userId);
        return stream.length > 0 ? stream : undefined;
      });
      expect(caused?.metadata).toEqual({ ...carried, causationId: created.eventId });
      await bus.close();
    },
  );
});
