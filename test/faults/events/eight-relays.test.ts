// Eight relays at once on a thousand aggregates, with handlers that fail now and then: how the work is shared, told by the
// rows that each one's handlers have written.
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import { connectDatabase } from '../../../src/platform/database.ts';
import { expectDeliveriesToBalance, queueIsEmpty } from '../../support/delivery-books.ts';
import { counted, newThing, startEventLog, thingRoutes, type EventLog } from '../../support/event-log.ts';
import { createTestRelay } from '../../support/relays.ts';

const relayCount = 8;
const aggregates = 1_000;
const eventsEach = 20;
const total = aggregates * eventsEach;
const limitMilliseconds = 480_000;

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog();
  await sql`
    create table shares (relay int not null, event_id uuid not null, aggregate_id text not null, version int not null,
                         n bigint generated always as identity)`.execute(log.db);
  for (let made = 0; made < aggregates; made += 50) {
    await Promise.all(
      Array.from({ length: 50 }, async () => {
        const id = newThing();
        await log.store.append(Array.from({ length: eventsEach }, (_, n) => counted(id, n)));
      }),
    );
  }
});
afterAll(async () => await log.stop());

type Running = Readonly<{ stop(): Promise<void> }>;

/** With connections of its own, as in a process of its own. One event in a hundred fails the first time that it comes. */
function startRelay(relay: number, failed: Set<string>): Running {
  const db = connectDatabase({
    url: log.url,
    poolSize: 7,
    applicationName: `relay-${relay}`,
    onIdleError: () => undefined,
  });
  const bus = new InMemoryEventBus({ db });
  bus.subscribe(
    'thing.counted',
    async ({ eventId, aggregateId, ...event }, { tx }) => {
      const { version } = event as unknown as Readonly<{ version: number }>;
      await sql`
        insert into shares (relay, event_id, aggregate_id, version)
        values (${relay}, ${eventId}, ${aggregateId}, ${version})`.execute(tx);
      if (Number.parseInt(eventId.slice(-4), 16) % 100 !== 0 || failed.has(eventId)) return;
      failed.add(eventId);
      throw new Error('not the first time');
    },
    { name: 'shares' },
  );
  const test = createTestRelay({ ...log, db }, { deliver: async ({ event }) => await bus.deliver(event) });
  test.relay.start();
  return {
    async stop() {
      await test.stop();
      await db.destroy();
    },
  };
}

it(
  'share the work, each event has its effect once, and each aggregate in its order',
  async () => {
    const failed = new Set<string>();
    const before = performance.now();
    const relays = Array.from({ length: relayCount }, (_, relay) => startRelay(relay, failed));
    try {
      await queueIsEmpty(log, limitMilliseconds);
    } finally {
      await Promise.all(relays.map(async (relay) => await relay.stop()));
    }
    const seconds = (performance.now() - before) / 1000;
    await expectDeliveriesToBalance(log, thingRoutes);

    const { rows: shares } = await sql<{ relay: number; rows: number }>`
      select relay, count(*)::int as rows from shares group by relay order by relay`.execute(log.db);
    const told = shares.map(({ relay, rows }) => `${relay}: ${rows} (${((rows / total) * 100).toFixed(1)} %)`);
    console.log(`${total} deliveries, ${failed.size} of them twice, in ${seconds.toFixed(1)} s: ${told.join(', ')}`);
    expect(failed.size).toBeGreaterThan(total / 200);
    expect(shares).toHaveLength(relayCount);
    for (const { relay, rows } of shares) expect(rows, `relay ${relay}`).toBeGreaterThanOrEqual(total * 0.03);

    const { rows: found } = await sql<{ effects: number; events: number; disorder: number }>`
      select count(*)::int as effects, count(distinct event_id)::int as events,
        count(*) filter (where version <> place)::int as disorder
      from (select *, row_number() over (partition by aggregate_id order by n) as place from shares) placed`.execute(
      log.db,
    );
    expect(found).toEqual([{ effects: total, events: total, disorder: 0 }]);
    const { rows: attempts } = await sql<{ attempts: number; count: number }>`
      select attempts, count(*)::int as count from outbox group by attempts order by attempts`.execute(log.db);
    expect(attempts).toEqual([
      { attempts: 1, count: total - failed.size },
      { attempts: 2, count: failed.size },
    ]);
  },
  limitMilliseconds + 30_000,
);
