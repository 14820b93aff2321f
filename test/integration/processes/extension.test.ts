// A team's own events, handlers and read models beside the service's, in one process: the extension of the example, and
// one that fails in the ways that matter. Judged by the tables.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { loyalty } from '../../../examples/order-flow.ts';
import type { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import type { StoredEvent } from '../../../src/domain/event.ts';
import { UnknownEventError } from '../../../src/event-store/event-codec.ts';
import { createSubscription } from '../../../src/event-store/subscription.ts';
import { stopAll } from '../../../src/platform/lifecycle.ts';
import { createInMemoryBus } from '../../../src/processes/bus.ts';
import { subscribeHandlers } from '../../../src/processes/handlers.ts';
import { migrateAll } from '../../../src/processes/migrate.ts';
import { createParts } from '../../../src/processes/parts.ts';
import { startRelay } from '../../../src/processes/relay.ts';
import { defineExtension } from '../../../src/processes/service.ts';
import { startSubscriptions } from '../../../src/processes/subscriptions.ts';
import { parseSubscriptionsCommand, runSubscriptionsCommand } from '../../../src/processes/subscriptions-command.ts';
import { lagOf } from '../../support/lag.ts';
import { confirmWithoutSaga, eventually, startSagaService, type SagaService } from '../../support/saga-service.ts';

/** What its handler does with the next order: each is over after the first that it meets. */
const next = { fails: false, second: undefined as number | undefined };

const parcels = defineExtension({
  name: 'parcels',
  events: {
    'parcel.packed': { version: 1, schema: z.object({ orderId: z.string(), grams: z.int() }) },
    'parcel.weighed': { version: 1, schema: z.object({ grams: z.int() }), routes: [] },
  },
  handlers(eventBus, { logger, metricsRegistry }) {
    const packed = metricsRegistry.counter({ name: 'parcels_total', help: 'Parcels that were packed.', labels: [] });
    eventBus.subscribe(
      'order.confirmed',
      async ({ payload: { orderId } }, { publish }) => {
        const { fails, second } = next;
        Object.assign(next, { fails: false, second: undefined });
        const parcel = { aggregateType: 'parcel', aggregateId: `parcel-${orderId}` };
        await publish({ ...parcel, eventType: 'parcel.packed', payload: { orderId, grams: 100 } });
        await publish({ ...parcel, eventType: 'parcel.weighed', payload: { grams: 101 } });
        if (second !== undefined) {
          await publish({ ...parcel, eventType: 'parcel.packed', payload: { orderId, grams: second } });
        }
        logger.debug('packed');
        packed.add({});
        if (fails) throw new Error('the tape is out');
      },
      { name: 'parcels.pack' },
    );
  },
});

let service: SagaService;
let bus: InMemoryEventBus;
beforeAll(async () => {
  service = await startSagaService({ worker: false, relay: false, extensions: [loyalty, parcels] });
  bus = createInMemoryBus(service.parts);
  subscribeHandlers(service.parts, bus);
});
afterAll(async () => {
  await bus.close();
  await service.stop();
});

async function confirmedOrder(customerId: string): Promise<StoredEvent> {
  const orderId = await confirmWithoutSaga(service, customerId);
  const event = (await service.parts.store.getEvents(orderId)).at(-1);
  if (event === undefined) throw new Error('nothing was stored');
  return event;
}

/** Both extensions name a stream of theirs after the order. By stream: what is in the log may be seen a moment later. */
const followUps = async ({ aggregateId, eventId }: StoredEvent, eventType: string): Promise<readonly StoredEvent[]> =>
  (await service.parts.store.getEvents(`${eventType.split('.')[0] ?? ''}-${aggregateId}`)).filter(
    (event) => event.eventType === eventType && event.metadata.causationId === eventId,
  );
const deliveriesOf = async ({ eventId }: StoredEvent): Promise<readonly string[]> =>
  (await service.parts.db.selectFrom('outbox').select('destination').where('id', '=', eventId).execute()).map(
    ({ destination }) => destination,
  );

/** What the read model says now. */
async function keptPoints(customerId: string): Promise<number | undefined> {
  const { rows } = await sql<{ points: string }>`
    select points from loyalty_points where tenant_id = 'default' and customer_id = ${customerId}`.execute(
    service.parts.db,
  );
  return rows[0] === undefined ? undefined : Number(rows[0].points);
}

/** And once it has gone over all that is stored. */
async function pointsOf(customerId: string): Promise<number | undefined> {
  const [subscription] = loyalty.subscriptions ?? [];
  if (subscription === undefined) throw new Error('the example has a subscription');
  const runner = createSubscription(service.parts, subscription);
  await eventually(async () => {
    await runner.runOnce();
    return (await lagOf(service.parts.db, subscription.name)) === 0 ? true : undefined;
  });
  return await keptPoints(customerId);
}

describe('the example', () => {
  it('earns a customer points for each confirmed order, and none for one that is not', async () => {
    await service.submit({ customerId: 'ada' });
    const confirmed = [await confirmedOrder('ada'), await confirmedOrder('ada')];
    for (const event of confirmed) await bus.deliver(event);
    expect(await pointsOf('ada')).toBe(60);
    expect(await pointsOf('nobody')).toBeUndefined();
  });

  it('publishes within the story of the order: same tenant and correlation, caused by the event that it handled', async () => {
    const event = await confirmedOrder('ada');
    await bus.deliver(event);
    const [earned] = await followUps(event, 'loyalty.points_earned');
    expect(earned?.metadata).toEqual({ tenantId: 'default', correlationId: 'test', causationId: event.eventId });
    expect(earned === undefined ? [] : await deliveriesOf(earned)).toEqual(['bus']);
  });

  it('earns points once where the same event is delivered twice, also by a handler whose inbox row is gone', async () => {
    const event = await confirmedOrder('eve');
    await bus.deliver(event);
    await bus.deliver(event);
    expect(await pointsOf('eve')).toBe(30);

    await service.parts.db.deleteFrom('inbox').where('event_id', '=', event.eventId).execute();
    await bus.deliver(event);
    expect(await followUps(event, 'loyalty.points_earned')).toHaveLength(1);
    expect(await pointsOf('eve')).toBe(30);
  });

  it('runs with relay and subscriptions as they are, and its read model is listed and built again by its name', async () => {
    const { settings, logger, extensions, db } = service.parts;
    const parts = createParts(settings, { role: 'test', runsLoops: true, logger, extensions });
    const running = [startRelay(parts), startSubscriptions(parts), { stop: parts.close }];
    const run = async (...args: readonly string[]) =>
      await runSubscriptionsCommand(db, parseSubscriptionsCommand(args), extensions);
    const shows30 = async () => await eventually(async () => ((await keptPoints('bob')) === 30 ? true : undefined));
    try {
      await confirmedOrder('bob');
      await shows30();
      expect(await run('list')).toContain('loyalty.points-of-customers');
      await sql`update loyalty_points set points = 7 where customer_id = 'bob'`.execute(db);
      await run('rebuild', 'loyalty.points-of-customers');
      await shows30();
    } finally {
      await stopAll(running);
    }
    expect((await sql`select from outbox where state = 'dead'`.execute(db)).rows).toEqual([]);
  });
});

describe('what a handler publishes', () => {
  it('is stored with its effect or not at all: of one that fails afterwards nothing is, and once when it comes again', async () => {
    const event = await confirmedOrder('ada');
    next.fails = true;
    await expect(bus.deliver(event)).rejects.toThrow('parcels.pack');
    expect(await followUps(event, 'parcel.packed')).toEqual([]);
    await bus.deliver(event);
    const packed = await followUps(event, 'parcel.packed');
    expect(packed).toMatchObject([{ payload: { grams: 100 }, version: 1, aggregateType: 'parcel' }]);
  });

  it('is one event of a type for each aggregate: a second one that says something else fails the handler', async () => {
    const event = await confirmedOrder('ada');
    next.second = 200;
    await expect(bus.deliver(event)).rejects.toThrow('parcels.pack');
    expect(await followUps(event, 'parcel.packed')).toEqual([]);
  });

  it('goes where its type is routed: one without routes is in the log, and has no delivery', async () => {
    const event = await confirmedOrder('ada');
    await bus.deliver(event);
    const [packed] = await followUps(event, 'parcel.packed');
    const [weighed] = await followUps(event, 'parcel.weighed');
    if (packed === undefined || weighed === undefined) throw new Error('nothing was published');
    expect([await deliveriesOf(packed), await deliveriesOf(weighed)]).toEqual([['bus'], []]);
  });
});

describe('a process that is run without the extension', () => {
  it('stops at its events where it reads the log, and names the type', async () => {
    const event = await confirmedOrder('ada');
    await bus.deliver(event);
    const { settings, logger } = service.parts;
    const without = createParts(settings, { role: 'test', runsLoops: false, logger });
    try {
      // Once the log shows it: a transaction of another test may hold that up.
      const stopped = await eventually(async () => {
        const reading = without.store.getEventsByType('loyalty.points_earned');
        return await reading.then(
          () => undefined,
          (error: unknown) => error,
        );
      });
      expect(stopped).toBeInstanceOf(UnknownEventError);
      expect(String(stopped)).toContain('loyalty.points_earned');
    } finally {
      await without.close();
    }
  });
});

describe('the tables of an extension', () => {
  it('are made once, also by several processes at once, and apart from the migrations of the service', async () => {
    const url = service.environment['DATABASE_URL'] ?? '';
    const runs = await Promise.all([1, 2, 3].map(async () => await migrateAll(url, [loyalty, parcels])));
    expect(runs).toEqual([[], [], []]);
    const { rows } = await sql`select name from loyalty_migration`.execute(service.parts.db);
    expect(rows).toEqual([{ name: '0001-points' }]);

    const more = {
      ...loyalty,
      migrations: {
        ...loyalty.migrations,
        '0002-more': { up: async () => await Promise.reject(new Error('not like this')) },
      },
    };
    await expect(migrateAll(url, [more])).rejects.toThrow('the migration failed');
    expect((await sql`select name from loyalty_migration`.execute(service.parts.db)).rows).toEqual(rows);
  });

  it('are not begun where an extension clashes with the service', async () => {
    const clash = { ...parcels, name: 'clash', events: loyalty.events ?? {}, migrations: { '0001': { up: never } } };
    await expect(migrateAll(service.environment['DATABASE_URL'] ?? '', [loyalty, clash])).rejects.toThrow(
      'The event type loyalty.points_earned of the extension clash belongs to the extension loyalty already.',
    );
  });
});

const never = async (): Promise<void> => await Promise.reject(new Error('this is not run'));
