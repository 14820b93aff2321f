// Positions past 2^53, which no number holds: through the store, subscriptions, the outbox and the API as they are.
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { z } from 'zod';
import { createSubscription, type SubscriptionRunner } from '../../../src/event-store/subscription.ts';
import { startApi, type Api } from '../http/api.ts';
import { counted, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { lagOf } from '../../support/lag.ts';
import { createTestRelay } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';

/** Rounded to a number, two in a row are one. */
const first = 2n ** 53n + 1n;
/** Near the column's end: a digit more than those have that an int8 holds in any case. */
const last = 2n ** 63n - 100n;
const positionsFrom = (start: bigint, count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => String(start + BigInt(index)));

let log: EventLog;
let api: Api;
beforeAll(async () => {
  log = await startEventLog();
  api = await startApi({ db: log.db, store: log.store });
});
afterAll(async () => {
  await api.close();
  await log.stop();
});

async function startingAt(position: bigint): Promise<void> {
  await sql`alter table events alter column position restart with ${sql.lit(position)}`.execute(log.db);
}

function collector(name: string, seen: string[]): SubscriptionRunner {
  return createSubscription(log, {
    name,
    startFrom: 'end',
    apply: async ({ position }) => {
      seen.push(position);
      return await Promise.resolve();
    },
    reset: async () => await Promise.resolve(),
  });
}

it.each([first, last])(
  'positions from %s on are read, followed, delivered, listed and paged through',
  async (start) => {
    await sql`truncate outbox, outbox_lanes`.execute(log.db);
    await startingAt(start);
    const id = newThing();
    const wanted = positionsFrom(start, 5);
    const seen: string[] = [];
    const subscription = collector(`from ${start}`, seen);
    await subscription.runOnce();

    const stored = await log.store.append([1, 2, 3, 4, 5].map((n) => counted(id, n)));
    expect(stored.map(({ position }) => position)).toEqual(wanted);
    expect((await log.store.getEvents(id)).map(({ position }) => position)).toEqual(wanted);

    await eventually(async () => {
      await subscription.runOnce();
      return seen.length === 5 ? true : undefined;
    });
    expect(seen).toEqual(wanted);
    expect(await subscription.runOnce()).toBe(0);
    expect(await lagOf(log.db, `from ${start}`)).toBe(0);

    const paged: string[] = [];
    for (let after = ''; paged.length < 5;) {
      const reply = await api.call('GET', `/events?aggregateId=${id}&limit=1${after}`);
      const page = z
        .looseObject({ events: z.array(z.looseObject({ position: z.string() })), next: z.string() })
        .parse(reply.body);
      paged.push(...page.events.map(({ position }) => position));
      after = `&after=${page.next}`;
    }
    expect(paged).toEqual(wanted);

    const listed: unknown[] = [];
    for (let after = ''; listed.length < 5;) {
      const reply = await api.call('GET', `/outbox?state=pending&limit=1${after}`);
      expect(reply.status).toBe(200);
      const page = z
        .looseObject({ deliveries: z.array(z.looseObject({ version: z.number() })), next: z.string().nullable() })
        .parse(reply.body);
      listed.push(...page.deliveries.map(({ version }) => version));
      after = `&after=${page.next}`;
    }
    expect(listed).toEqual([1, 2, 3, 4, 5]);

    const arrived: string[] = [];
    const { relay, stop } = createTestRelay(log, {
      deliver: async ({ event }) => await Promise.resolve(void arrived.push(event.position)),
    });
    while ((await relay.processOutbox()) > 0);
    expect(arrived).toEqual(wanted);
    await stop();
  },
);
