// Speed on top of polling: pokes within the process, NOTIFY from others, and nothing lost where both fail.
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createWakeUp, type WakeUp } from '../../../src/outbox/wake-up.ts';
import { counted, createLogBook, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { createTestRelay, type TestRelay } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';

let log: EventLog;
let running: { stop(): Promise<void> }[] = [];
beforeAll(async () => {
  log = await startEventLog();
});
afterAll(async () => await log.stop());
beforeEach(async () => void (await sql`truncate outbox`.execute(log.db)));
afterEach(async () => {
  for (const each of running) await each.stop();
  running = [];
});

const never = new AbortController().signal;

function wakeUpOf(options: Readonly<{ listens: boolean }>): WakeUp & { logged: readonly string[] } {
  const { logger, lines } = createLogBook();
  const wakeUp = createWakeUp({ db: log.db, logger, listenUrl: options.listens ? log.url : undefined });
  running.push({ stop: async () => await wakeUp.close() });
  return { ...wakeUp, logged: lines };
}

function idleRelay(options: Readonly<{ listens?: boolean }> = {}): TestRelay & { arrived: Map<string, number> } {
  const arrived = new Map<string, number>();
  const test = createTestRelay(log, {
    ...options,
    deliver: async ({ event }) => void arrived.set(event.aggregateId, performance.now()),
  });
  running.push(test);
  test.relay.start();
  return { ...test, arrived };
}

const listenerPid = async (): Promise<number | undefined> => {
  const { rows } = await sql<{ pid: number }>`
    select pid from pg_stat_activity where datname = current_database() and application_name = 'athyper-listen'
      and query like 'listen %'`.execute(log.db);
  return rows[0]?.pid;
};

type Idle = TestRelay & Readonly<{ arrived: ReadonlyMap<string, number> }>;

/** One event, until it is delivered. */
async function commit(relay: Idle, afterCommit: () => void = () => undefined): Promise<void> {
  const id = newThing();
  await log.store.append(counted(id, 1));
  afterCommit();
  await eventually(async () => await Promise.resolve(relay.arrived.get(id)));
}

/** Judged by what ended its waits between two rounds, not by how long a delivery takes: that is the machine's load. */
async function expectWokenBy(relay: Idle, poke: () => void): Promise<void> {
  await eventually(async () => {
    await commit(relay, poke);
    return relay.waits.some(({ poked }) => poked) ? true : undefined;
  });
  const isQuiet = (): boolean => relay.waits.slice(-2).every(({ poked }) => !poked);
  await eventually(async () => await Promise.resolve(isQuiet() ? true : undefined));
  const before = relay.waits.length;
  for (let n = 0; n < 3; n += 1) await commit(relay);
  expect(relay.waits.slice(before)).not.toContainEqual({ poked: true });
}

describe('a wait for work', () => {
  it('ends at a poke, at its time, or when it is stopped, and at once where a poke came before it', async () => {
    const wakeUp = wakeUpOf({ listens: false });
    const woken = wakeUp.wait(60_000, never, wakeUp.mark());
    wakeUp.poke();
    await woken;
    await wakeUp.wait(5, never, wakeUp.mark());
    const stop = new AbortController();
    const stopped = wakeUp.wait(60_000, stop.signal, wakeUp.mark());
    stop.abort();
    await stopped;
    await wakeUp.wait(60_000, stop.signal, wakeUp.mark());
    const mark = wakeUp.mark();
    wakeUp.poke();
    await wakeUp.wait(60_000, never, mark);
  });
});

describe('a relay', () => {
  it('is woken by a poke after the commit, and finds its work by polling where there was none', async () => {
    const relay = idleRelay();
    await expectWokenBy(relay, () => relay.wakeUp.poke());
  });

  it('is woken by the commits of another process, and finds its work by polling where no word of them comes', async () => {
    const relay = idleRelay({ listens: true });
    await eventually(listenerPid);
    // Its connect was a poke, too.
    await eventually(async () => await Promise.resolve(relay.waits.at(-1)?.poked === false ? true : undefined));
    relay.waits.length = 0;
    const elsewhere = wakeUpOf({ listens: false });
    await expectWokenBy(relay, () => elsewhere.poke());
  });

  it('delivers on while its LISTEN connection is lost, and listens again', async () => {
    const relay = idleRelay({ listens: true });
    const pid = await eventually(listenerPid);
    await sql`select pg_terminate_backend(${pid})`.execute(log.db);
    const id = newThing();
    await log.store.append(counted(id, 1));
    await eventually(async () => await Promise.resolve(relay.arrived.get(id)));
    await eventually(
      async () => await Promise.resolve(relay.logged.find((line) => line.startsWith('LISTEN connection lost'))),
    );
    const again = await eventually(async () => {
      const found = await listenerPid();
      return found === pid ? undefined : found;
    });
    expect(again).not.toBe(pid);
    const before = relay.wakeUp.mark();
    wakeUpOf({ listens: false }).poke();
    await eventually(async () => await Promise.resolve(relay.wakeUp.mark() > before ? true : undefined));
  });
});

describe('NOTIFY', () => {
  it('is sent once for many commits in a row, outside their transactions', async () => {
    const listener = wakeUpOf({ listens: true });
    await eventually(listenerPid);
    await eventually(async () => await Promise.resolve(listener.mark() > 0 ? true : undefined));
    const before = listener.mark();
    const sender = wakeUpOf({ listens: false });
    for (let n = 0; n < 50; n += 1) sender.poke();
    await eventually(async () => await Promise.resolve(listener.mark() > before ? true : undefined));
    await sql`select pg_notify('athyper_outbox', '')`.execute(log.db);
    await eventually(async () => await Promise.resolve(listener.mark() > before + 1 ? true : undefined));
    expect(listener.mark()).toBe(before + 2);
  });

  it('that cannot be heard is said, and closing ends it', async () => {
    const { logger, lines } = createLogBook();
    const wakeUp = createWakeUp({ db: log.db, logger, listenUrl: 'postgres://127.0.0.1:1/none' });
    await eventually(async () => await Promise.resolve(lines.find((line) => line.startsWith('LISTEN failed'))));
    await wakeUp.close();
  });
});
