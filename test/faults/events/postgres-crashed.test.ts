// PostgreSQL crashes again and again under writers, relays with handlers, and subscriptions: nothing is lost, nothing has
// its effect twice, and every loop goes on by itself.
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterEach, expect, it } from 'vitest';
import { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import type { DomainEvent } from '../../../src/domain/event.ts';
import { runSubscription } from '../../../src/event-store/subscription-loop.ts';
import { createSubscription } from '../../../src/event-store/subscription.ts';
import { recorder, tableOfEffects } from '../../support/effects.ts';
import { counted, createLogBook, made, newThing, openEventLog, type EventLog } from '../../support/event-log.ts';
import { startOwnPostgres, type OwnPostgres } from '../../support/own-postgres.ts';
import { createTestRelay } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';

const crashes = ['SIGKILL', 'SIGQUIT', 'SIGKILL'] as const;
const handlers = ['first', 'second'];
const followers = ['follower.one', 'follower.two'];
const aggregates = Array.from({ length: 20 }, newThing);

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function startDatabase(): Promise<Readonly<{ postgres: OwnPostgres; log: EventLog }>> {
  const postgres = await startOwnPostgres();
  cleanUps.push(postgres.remove);
  const log = openEventLog(postgres.url, { poolSize: 30 });
  cleanUps.push(log.stop);
  await tableOfEffects.execute(log.db);
  await sql`create table states (event_id uuid primary key)`.execute(log.db);
  await sql`create table followed (follower text, event_id uuid, n serial)`.execute(log.db);
  return { postgres, log };
}

/** Each writes one event after the other, and each until it has its answer: a repeat after a lost one is no second. */
function startWriters(log: EventLog): Readonly<{ acknowledged: ReadonlySet<string>; stop(): Promise<void> }> {
  const acknowledged = new Set<string>();
  const stopping = new AbortController();
  const write = async (event: DomainEvent): Promise<void> => {
    for (;;) {
      try {
        await log.unitOfWork(async (unit) => {
          await sql`insert into states (event_id) values (${event.eventId}) on conflict do nothing`.execute(unit.tx);
          await unit.append(event);
        });
        acknowledged.add(event.eventId);
        return;
      } catch {
        await delay(50);
      }
    }
  };
  const writers = Array.from({ length: 5 }, async (_, writer) => {
    for (let n = 0; !stopping.signal.aborted; n += 1) {
      const id = aggregates[(writer * 7 + n) % aggregates.length] ?? '';
      await write(n % 3 === 0 ? made(id) : counted(id, n));
      await delay(5);
    }
  });
  return {
    acknowledged,
    async stop() {
      stopping.abort();
      await Promise.all(writers);
    },
  };
}

/** Two relays for the handlers' destination, one for the other. @returns their logs */
function startRelays(log: EventLog): readonly (readonly string[])[] {
  return ['left', 'left', 'right'].map((destination) => {
    const bus = new InMemoryEventBus({ db: log.db });
    for (const name of handlers) {
      for (const type of ['thing.made', 'thing.counted']) bus.subscribe(type, recorder(name), { name });
    }
    const { relay, stop, warnings } = createTestRelay(log, {
      destination,
      listens: true,
      deliver: async ({ event }) => {
        if (destination === 'left') await bus.deliver(event);
      },
    });
    relay.start();
    cleanUps.push(async () => {
      await stop();
      await bus.close();
    });
    return warnings;
  });
}

/** Two processes' worth of the same subscriptions. */
function startFollowers(log: EventLog): void {
  const wakeUp = { mark: () => 0, wait: async () => await delay(20) };
  for (const name of [...followers, ...followers]) {
    const runner = createSubscription(log, {
      name,
      startFrom: 'beginning',
      apply: async ({ eventId }, { tx }) =>
        void (await sql`insert into followed (follower, event_id) values (${name}, ${eventId})`.execute(tx)),
      reset: async () => await Promise.resolve(),
    });
    const loop = runSubscription(runner, { logger: createLogBook().logger, wakeUp });
    cleanUps.push(loop.stop);
  }
}

const count = async ({ db }: EventLog, query: ReturnType<typeof sql<{ n: number }>>): Promise<number> =>
  (await query.execute(db)).rows[0]?.n ?? -1;
const doneCount = async (log: EventLog): Promise<number> =>
  await count(log, sql<{ n: number }>`select count(*)::int as n from outbox where state = 'done'`);

async function expectAllOfItOnce(log: EventLog, acknowledged: ReadonlySet<string>): Promise<void> {
  const { rows: stored } = await sql<{ id: string; event_type: string; aggregate_id: string; version: number }>`
    select id, event_type, aggregate_id, version from events order by aggregate_id, version`.execute(log.db);
  expect(new Set(stored.map(({ id }) => id))).toEqual(acknowledged);
  const { rows: states } = await sql<{ event_id: string }>`select event_id from states`.execute(log.db);
  expect(new Set(states.map(({ event_id }) => event_id))).toEqual(acknowledged);

  const { rows: deliveries } = await sql<{ id: string; destination: string; state: string }>`
    select id, destination, state from outbox`.execute(log.db);
  const wanted = stored.flatMap(({ id, event_type }) =>
    (event_type === 'thing.made' ? ['left', 'right'] : ['left']).map((destination) => `${id} ${destination} done`),
  );
  const found = deliveries.map(({ id, destination, state }) => `${id} ${destination} ${state}`);
  expect(found.toSorted()).toEqual(wanted.toSorted());

  const inOrder = stored.map(({ aggregate_id, version }) => ({ aggregate_id, version }));
  for (const handler of handlers) {
    const { rows } = await sql`
      select aggregate_id, version from effects where handler = ${handler} order by aggregate_id, n`.execute(log.db);
    expect(rows, handler).toEqual(inOrder);
  }
  for (const follower of followers) {
    const { rows } = await sql`
      select aggregate_id, version from followed join events on events.id = followed.event_id
      where follower = ${follower} order by aggregate_id, n`.execute(log.db);
    expect(rows, follower).toEqual(inOrder);
  }
}

it('loses and doubles nothing when it crashes three times under writers, relays, handlers and subscriptions', async () => {
  const { postgres, log } = await startDatabase();
  const warnings = startRelays(log);
  startFollowers(log);
  const writers = startWriters(log);
  const underLoad = async (): Promise<void> => {
    const [written, done] = [writers.acknowledged.size, await doneCount(log)];
    await eventually(async () =>
      writers.acknowledged.size >= written + 100 && (await doneCount(log)) >= done + 100 ? true : undefined,
    );
  };
  for (const signal of crashes) {
    await underLoad();
    await postgres.crash(signal);
    await postgres.startAgain();
  }
  await underLoad();
  await writers.stop();

  await eventually(async () => {
    const waiting = await count(log, sql`select count(*)::int as n from outbox where state = 'pending'`);
    const behind = await count(
      log,
      sql`select (${followers.length} * (select count(*) from events) - (select count(*) from followed))::int as n`,
    );
    return waiting === 0 && behind <= 0 ? true : undefined;
  }, 90_000);
  await expectAllOfItOnce(log, writers.acknowledged);
  console.log(`${writers.acknowledged.size} events through ${crashes.length} crashes`);
  // Lost, and not to be had: once each per crash.
  for (const lines of warnings) {
    const said = lines.filter((line) => line.startsWith('LISTEN'));
    expect(said.length).toBeLessThanOrEqual(2 * crashes.length);
  }
});
