// What an operator sees of deliveries and does about them, with a relay on the same database.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import pino from 'pino';
import { z } from 'zod';
import { catalogue } from '../../../src/domain/catalogue.ts';
import { createEventCodec } from '../../../src/event-store/event-codec.ts';
import { PgEventStore } from '../../../src/event-store/event-store.ts';
import { delivered, PermanentDeliveryError, type Delivery } from '../../../src/outbox/delivery.ts';
import { createRelay, type OutboxProcessor } from '../../../src/outbox/relay.ts';
import { createWakeUp } from '../../../src/outbox/wake-up.ts';
import { newId } from '../../../src/domain/ids.ts';
import { expectInvalid, expectProblem, startApi, type Api } from './api.ts';

const codec = createEventCodec(catalogue);
let api: Api;
let broken: Set<string>;
let arrived: Delivery[];
beforeAll(async () => {
  api = await startApi();
});
beforeEach(() => {
  broken = new Set();
  arrived = [];
});
afterAll(async () => {
  await api.close();
});

/** Three events of one aggregate, for one destination. */
async function aggregate(destination: string, tenantId = 'default'): Promise<readonly string[]> {
  const routes = { 'user.email_updated': [destination] };
  const store = new PgEventStore({ db: api.db, codec, routes, onCommitted: () => undefined });
  const userId = newId();
  const ids = [newId(), newId(), newId()];
  await store.append(
    ids.map((eventId) => ({
      eventId,
      eventType: 'user.email_updated',
      occurredAt: new Date(),
      aggregateId: userId,
      aggregateType: 'user',
      payload: { userId, oldEmail: 'a@example.org', newEmail: 'b@example.org' },
      metadata: { tenantId },
    })),
  );
  return ids;
}

function relayOf(destination: string, afterDeadLetter: 'block' | 'continue'): OutboxProcessor {
  const logger = pino({ level: 'silent' });
  return createRelay({
    db: api.db,
    logger,
    wakeUp: createWakeUp({ db: api.db, logger, listenUrl: undefined }),
    decode: (row) => codec.decode(row),
    policy: {
      destination,
      afterDeadLetter,
      mostAttempts: 3,
      concurrency: 5,
      deliver: async (delivery) => {
        if (broken.has(delivery.event.eventId)) throw new PermanentDeliveryError('this one is broken');
        arrived.push(delivery);
        return delivered;
      },
    },
  });
}

async function drain(relay: OutboxProcessor): Promise<void> {
  while ((await relay.processOutbox()) > 0);
}

const pageSchema = z.object({
  deliveries: z.array(z.looseObject({ eventId: z.string(), state: z.string() })),
  next: z.string().nullable(),
});
async function list(query: string, headers: Record<string, string> = {}) {
  const reply = await api.call('GET', `/outbox?${query}`, { headers });
  expect(reply.status).toBe(200);
  return pageSchema.parse(reply.body);
}
const ids = (deliveries: readonly { eventId: string }[]) => deliveries.map(({ eventId }) => eventId);
const arrivals = () => arrived.map(({ event }) => event.eventId);

describe('a dead letter of a destination that blocks its aggregate', () => {
  test('is listed with its reason, holds up what comes after it, and is sent again in its place', async () => {
    const [first, second, third] = (await aggregate('temporal')) as [string, string, string];
    const relay = relayOf('temporal', 'block');
    broken.add(first);
    await drain(relay);
    expect((await list('state=dead&destination=temporal')).deliveries).toMatchObject([
      {
        eventId: first,
        eventType: 'user.email_updated',
        attempts: 1,
        lastError: expect.stringContaining('this one is broken') as string,
      },
    ]);
    expect((await list('state=pending&destination=temporal')).deliveries).toMatchObject([
      { eventId: second, waitsForEarlier: true },
      { eventId: third, waitsForEarlier: true },
    ]);

    broken.clear();
    expect(await api.call('POST', `/outbox/${first}/temporal/retry`)).toMatchObject({
      status: 202,
      body: { retried: 1 },
    });
    await drain(relay);
    expect(arrivals()).toEqual([first, second, third]);
    expect(arrived.every(({ redelivered }) => !redelivered)).toBe(true);
    expect((await list('state=pending')).deliveries).toEqual([]);
  });
});

describe('dead letters of a destination that goes on', () => {
  test('are sent again all at once, late and marked as such', async () => {
    const [first, second, third] = (await aggregate('bus')) as [string, string, string];
    const relay = relayOf('bus', 'continue');
    broken.add(first).add(second);
    await drain(relay);
    expect(arrivals()).toEqual([third]);
    broken.clear();
    expect(await api.call('POST', '/outbox/bus/retry')).toMatchObject({ status: 202, body: { retried: 2 } });
    await drain(relay);
    expect(arrivals().toSorted()).toEqual([first, second, third].toSorted());
    expect(arrived.filter(({ redelivered }) => redelivered)).toHaveLength(2);
  });

  test('of another tenant are neither shown nor sent', async () => {
    const [first] = (await aggregate('bus', 'acme')) as [string, string, string];
    broken.add(first);
    const relay = relayOf('bus', 'continue');
    await drain(relay);
    expect(ids((await list('state=dead')).deliveries)).not.toContain(first);
    expect(ids((await list('state=dead', { 'X-Tenant-Id': 'acme' })).deliveries)).toEqual([first]);
    expectProblem(await api.call('POST', `/outbox/${first}/bus/retry`), 404, 'dead-letter-not-found');
    expect(await api.call('POST', '/outbox/bus/retry')).toMatchObject({ body: { retried: 0 } });
  });
});

describe('a destination that is paused', () => {
  test('gets nothing, from no relay, until it is resumed; the other goes on', async () => {
    const held = await aggregate('bus');
    const free = await aggregate('temporal');
    expect(await api.call('POST', '/outbox/bus/pause')).toMatchObject({ status: 200, body: { paused: true } });
    await drain(relayOf('bus', 'continue'));
    await drain(relayOf('temporal', 'block'));
    expect(arrivals()).toEqual(free);
    expect(ids((await list('state=pending&destination=bus')).deliveries)).toEqual(held);
    await api.call('POST', '/outbox/bus/resume');
    await drain(relayOf('bus', 'continue'));
    expect(arrivals()).toEqual([...free, ...held]);
  });
});

describe('the list', () => {
  test('is read in pages that together hold each delivery once', async () => {
    const all = [...(await aggregate('bus')), ...(await aggregate('bus'))];
    const seen: string[] = [];
    let after = '';
    for (;;) {
      const page = await list(`state=pending&destination=bus&limit=2${after}`);
      seen.push(...ids(page.deliveries));
      if (page.next === null) break;
      after = `&after=${page.next}`;
    }
    expect(seen.toSorted()).toEqual(all.toSorted());
  });

  test('says what is wrong with a query, and which destinations there are', async () => {
    expectInvalid(await api.call('GET', '/outbox?state=lost'), 'state');
    expectInvalid(await api.call('GET', '/outbox?after=nonsense'), 'after');
    const forged = Buffer.from(JSON.stringify({ position: '1e9', destination: 'bus' })).toString('base64url');
    expectInvalid(await api.call('GET', `/outbox?after=${forged}`), 'after');
    expectProblem(await api.call('POST', '/outbox/buss/pause'), 404, 'destination-not-found', 'destination');
    expectProblem(await api.call('POST', `/outbox/${newId()}/bus/retry`), 404, 'dead-letter-not-found');
  });
});
