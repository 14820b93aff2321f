// The application's own bus: publish stores, the relay delivers, the handlers' effects are there once.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDurableEventBus, type EventBus } from '../../../src/bus/durable-event-bus.ts';
import { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import { effectsOf, recordEffect, tableOfEffects } from '../../support/effects.ts';
import { made, newThing, startEventLog, type EventLog, type things } from '../../support/event-log.ts';
import { createTestRelay, type TestRelay } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';

let log: EventLog;
let transport: InMemoryEventBus;
let bus: EventBus<typeof things>;
let relay: TestRelay;
type Published = Parameters<EventBus<typeof things>['publish']>[0];

beforeAll(async () => {
  log = await startEventLog();
  await tableOfEffects.execute(log.db);
  transport = new InMemoryEventBus({ db: log.db });
  bus = createDurableEventBus<typeof things>({ append: async (event) => await log.store.append(event), transport });
  relay = createTestRelay(log, { deliver: async ({ event }) => await transport.deliver(event) });
});
afterAll(async () => {
  await relay.stop();
  await transport.close();
  await log.stop();
});

describe('publishing', () => {
  it('returns when event and deliveries are stored, and calls no handler before the relay does', async () => {
    const event = made(newThing());
    let calls = 0;
    const unsubscribe = bus.subscribe('thing.made', () => void (calls += 1));
    await bus.publish(event as Published);
    expect(await log.store.getEvents(event.aggregateId)).toHaveLength(1);
    const { rows } = await sql`select destination, state from outbox where id = ${event.eventId} order by 1`.execute(
      log.db,
    );
    expect(rows).toEqual([
      { destination: 'left', state: 'pending' },
      { destination: 'right', state: 'pending' },
    ]);
    expect(calls).toBe(0);
    while ((await relay.relay.processOutbox()) > 0);
    expect(calls).toBe(1);
    unsubscribe();
  });

  it('of the same event twice has one effect', async () => {
    const event = made(newThing());
    const unsubscribe = bus.subscribe(
      'thing.made',
      async (received, context) => await recordEffect('named', received, context),
      { name: 'named' },
    );
    await bus.publish(event as Published);
    await bus.publish(event as Published);
    while ((await relay.relay.processOutbox()) > 0);
    expect(await effectsOf(log, event.aggregateId)).toHaveLength(1);
    unsubscribe();
  });

  it('of what does not fit its schema is refused, and nothing is stored', async () => {
    const event = { ...made(newThing()), payload: { name: 7 } };
    await expect(bus.publish(event as unknown as Published)).rejects.toThrow(/payload\.name/);
    expect(await log.store.getEvents(event.aggregateId)).toEqual([]);
  });

  it('survives a relay that dies after the handlers have run: the event comes again, its effect does not', async () => {
    const event = made(newThing());
    const unsubscribe = bus.subscribe(
      'thing.made',
      async (received, context) => await recordEffect('survivor', received, context),
      { name: 'survivor' },
    );
    await bus.publish(event as Published);
    const [stored] = await log.store.getEvents(event.aggregateId);
    if (stored === undefined) throw new Error('nothing was stored');
    // What a relay had delivered when it died, before it could say so.
    await transport.deliver(stored);
    relay.relay.start();
    await eventually(async () => {
      const { rows } =
        await sql`select from outbox where id = ${event.eventId} and destination = 'left' and published`.execute(
          log.db,
        );
      return rows.length === 1 ? true : undefined;
    });
    expect(await effectsOf(log, event.aggregateId)).toHaveLength(1);
    unsubscribe();
  });
});
