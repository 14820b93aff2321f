// Events of other releases in the log: older ones are read in today's shape, by everybody; unknown ones stop who reads
// the log, until newer code comes, and are parked by who delivers.
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { EventCatalogue, StoredEvent } from '../../../src/domain/event.ts';
import { upcast } from '../../../src/domain/upcasting.ts';
import { createEventCodec, UnknownEventError } from '../../../src/event-store/event-codec.ts';
import { PgEventStore } from '../../../src/event-store/event-store.ts';
import { createSubscription, type SubscriptionRunner } from '../../../src/event-store/subscription.ts';
import { delivered, type Delivery } from '../../../src/outbox/delivery.ts';
import { createRelay, type OutboxProcessor } from '../../../src/outbox/relay.ts';
import { createWakeUp } from '../../../src/outbox/wake-up.ts';
import { decodeForDelivery } from '../../../src/processes/decode.ts';
import { createLogBook, made, newThing, startEventLog, things, type EventLog } from '../../support/event-log.ts';
import { eventually } from '../../support/saga-service.ts';

const named = z.object({ name: z.string() });
const titled = z.object({ title: z.string(), tags: z.array(z.string()) });
/** The release after: `thing.made` has a new shape, and there is a type that the release before does not know. */
const nextRelease = {
  ...things,
  'thing.made': {
    version: 2,
    schema: titled,
    upcasters: { 1: upcast({ from: named, to: titled, by: ({ name }) => ({ title: name, tags: [] }) }) },
  },
  'thing.painted': { version: 1, schema: z.object({ colour: z.string() }) },
} as const satisfies EventCatalogue;

let log: EventLog;
let newer: PgEventStore;
const routes = { 'thing.made': ['left'], 'thing.painted': ['left'] };
const newCodec = createEventCodec(nextRelease);
beforeEach(async () => {
  log = await startEventLog();
  newer = new PgEventStore({ db: log.db, codec: newCodec, routes, onCommitted: () => undefined });
});
afterEach(async () => await log.stop());

const painted = (id: string) => ({ ...made(id), eventType: 'thing.painted', payload: { colour: 'red' } });
const madeAnew = (id: string) => ({ ...made(id), payload: { title: 'lamp', tags: ['new'] } });

function subscribe(store: PgEventStore, name: string, seen: StoredEvent[]): SubscriptionRunner {
  return createSubscription(
    { db: log.db, store },
    {
      name,
      startFrom: 'end',
      apply: async (event) => {
        seen.push(event);
        return await Promise.resolve();
      },
      reset: async () => await Promise.resolve(),
    },
  );
}

function relayOf(codec: typeof newCodec, arrived: Delivery[]): OutboxProcessor {
  const { logger } = createLogBook();
  return createRelay({
    db: log.db,
    logger,
    wakeUp: createWakeUp({ db: log.db, logger, listenUrl: undefined }),
    decode: decodeForDelivery(codec),
    policy: {
      destination: 'left',
      afterDeadLetter: 'continue',
      mostAttempts: 10,
      concurrency: 5,
      deliver: async (delivery) => {
        arrived.push(delivery);
        return await Promise.resolve(delivered);
      },
    },
  });
}

const deliveryOf = async (eventId: string): Promise<unknown> =>
  await log.db
    .selectFrom('outbox')
    .select(['state', 'attempts', 'last_error'])
    .where('id', '=', eventId)
    .executeTakeFirst();

describe('an event of an older version', () => {
  it('is read and delivered in today’s shape, and its row stays as it was', async () => {
    const event = made(newThing());
    await log.store.append(event);
    const today = { title: 'lamp', tags: [] };
    const [read] = await newer.getEvents(event.aggregateId);
    expect(read).toMatchObject({ eventId: event.eventId, payload: today, schemaVersion: 2 });
    const logged = await eventually(async () => (await newer.readLog({ aggregateId: event.aggregateId })).events[0]);
    expect(logged).toEqual(read);
    const arrived: Delivery[] = [];
    await relayOf(newCodec, arrived).processOutbox();
    expect(arrived.map((delivery) => delivery.event)).toEqual([read]);
    const row = await log.db
      .selectFrom('events')
      .select(['payload', 'schema_version'])
      .where('id', '=', event.eventId)
      .executeTakeFirst();
    expect(row).toEqual({ payload: event.payload, schema_version: 1 });
  });
});

describe.each([
  ['of an unknown type', painted],
  ['of a newer version', madeAnew],
])('an event %s', (kind, make) => {
  it('stops a subscription before it, in a rebuild too, and newer code goes on from there', async () => {
    const seen: StoredEvent[] = [];
    const runner = subscribe(log.store, kind, seen);
    await runner.runOnce();
    const [before, unknown] = [made(newThing()), make(newThing())];
    await log.store.append(before);
    await eventually(async () => {
      await runner.runOnce();
      return seen.length > 0 ? true : undefined;
    });
    await newer.append(unknown);
    await expect(eventually(async () => ((await runner.runOnce()) > 0 ? true : undefined))).rejects.toThrow(
      UnknownEventError,
    );
    await runner.rebuild();
    await expect(eventually(async () => ((await runner.runOnce()) > 1_000 ? true : undefined))).rejects.toThrow(
      UnknownEventError,
    );
    const newCode = subscribe(newer, kind, seen);
    await eventually(async () => {
      await newCode.runOnce();
      return seen.at(-1)?.eventId === unknown.eventId ? true : undefined;
    });
    const { rows } = await sql`select from subscriptions where name = ${kind} and xid <> '0'`.execute(log.db);
    expect(rows).toHaveLength(1);
  });

  it('is a dead letter at its first delivery, which names why', async () => {
    const unknown = make(newThing());
    await newer.append(unknown);
    const arrived: Delivery[] = [];
    const relay = relayOf(createEventCodec(things), arrived);
    while ((await relay.processOutbox()) > 0);
    expect(arrived.map((delivery) => delivery.event.eventId)).not.toContain(unknown.eventId);
    expect(await deliveryOf(unknown.eventId)).toMatchObject({
      state: 'dead',
      attempts: 1,
      last_error: expect.stringContaining(`UnknownEventError: `) as string,
    });
  });
});
