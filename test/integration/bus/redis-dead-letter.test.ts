// An event whose handler keeps failing behind Redis: a dead letter in PostgreSQL, and sent again like any other (G6).
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { retryDeadLetters } from '../../../src/outbox/outbox-admin.ts';
import { counted, newThing, startEventLog, storedAt, type EventLog } from '../../support/event-log.ts';
import { makeRedisBus, type RedisBusUnderTest } from '../../support/redis-bus.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';
import { createTestRelay, type TestRelay } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';

let redis: TestRedis;
let log: EventLog;
let bus: RedisBusUnderTest['bus'];
let relay: TestRelay;
let broken: Set<number>;
let gate: Promise<void> | undefined;
const handled: { n: number; aggregateId: string }[] = [];

beforeAll(async () => {
  redis = await startRedis();
  log = await startEventLog();
  ({ bus } = makeRedisBus(log, redis.url, undefined, { mostAttempts: 2, destination: 'left' }));
  bus.subscribe(
    'thing.counted',
    async ({ payload, aggregateId }) => {
      const { n } = payload as { n: number };
      await gate;
      if (broken.has(n)) throw new Error(`cannot count to ${n}`);
      handled.push({ n, aggregateId });
    },
    { name: 'counting' },
  );
  bus.consume();
  relay = createTestRelay(log, { deliver: async ({ event }) => await bus.deliver(event) });
});
beforeEach(() => {
  broken = new Set();
  gate = undefined;
});
afterAll(async () => {
  await relay.stop();
  await bus.close();
  await log.stop();
  await redis.stop();
});

const drain = async () => {
  while ((await relay.relay.processOutbox()) > 0);
};
const deliveriesOf = async (aggregateId: string) =>
  await log.db
    .selectFrom('outbox')
    .select(['version', 'state', 'last_error as error', 'redelivered'])
    .where('aggregate_id', '=', aggregateId)
    .orderBy('version')
    .execute();
const countsOf = (aggregateId: string) => handled.filter((each) => each.aggregateId === aggregateId).map(({ n }) => n);

describe('an event whose handler keeps failing', () => {
  it('becomes a dead letter that names the handler, what comes after it goes on, and a retry brings it late', async () => {
    const thing = newThing();
    broken.add(1);
    await log.store.append([counted(thing, 1), counted(thing, 2)]);
    await drain();
    await eventually(async () => (countsOf(thing).length === 1 ? true : undefined));
    expect(countsOf(thing)).toEqual([2]);
    expect(await deliveriesOf(thing)).toMatchObject([
      { version: 1, state: 'dead', error: expect.stringMatching(/counting.*cannot count to 1/) as string },
      { version: 2, state: 'done' },
    ]);

    broken.clear();
    expect(await retryDeadLetters(log.db, { tenantId: 'default', destination: 'left' })).toBe(1);
    await drain();
    await eventually(async () => (countsOf(thing).length === 2 ? true : undefined));
    expect(countsOf(thing)).toEqual([2, 1]);
    expect(await deliveriesOf(thing)).toMatchObject([{ state: 'done', redelivered: true }, { state: 'done' }]);
  });

  it('whose row was cleaned up meanwhile is listed all the same', async () => {
    const thing = newThing();
    broken.add(3);
    const open = Promise.withResolvers<void>();
    gate = open.promise;
    await log.store.append(counted(thing, 3));
    await drain();
    await log.db.deleteFrom('outbox').where('aggregate_id', '=', thing).execute();
    open.resolve();
    await eventually(async () => ((await deliveriesOf(thing)).length === 1 ? true : undefined));
    expect(await deliveriesOf(thing)).toMatchObject([{ version: 1, state: 'dead' }]);
  });

  it('is one at once where this release does not know its type or version, and what comes after it goes on', async () => {
    const thing = newThing();
    const patient = makeRedisBus(log, redis.url, undefined, { destination: 'left' });
    const seen: number[] = [];
    patient.bus.subscribe('thing.counted', ({ payload }) => void seen.push((payload as { n: number }).n));
    await patient.bus.deliver({ ...storedAt(counted(thing, 1), 1), eventType: 'thing.of_tomorrow' });
    await patient.bus.deliver({ ...storedAt(counted(thing, 2), 2), schemaVersion: 99 });
    await patient.bus.deliver(storedAt(counted(thing, 3), 3));
    patient.bus.consume();
    await eventually(async () => (seen.length === 1 ? true : undefined));
    expect(await deliveriesOf(thing)).toMatchObject([
      { version: 1, state: 'dead', error: expect.stringContaining('thing.of_tomorrow') as string },
      { version: 2, state: 'dead', error: expect.stringContaining('version 99') as string },
    ]);
    expect(seen).toEqual([3]);
    expect(patient.reports).toHaveLength(2);
    await patient.bus.close();
  });
});
