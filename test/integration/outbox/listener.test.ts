// LISTEN is speed only: what breaks it costs latency, is noticed, is said once, and is mended where it can be.
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ListenerPace } from '../../../src/outbox/listener.ts';
import { createWakeUp } from '../../../src/outbox/wake-up.ts';
import { readSettings } from '../../../src/platform/config.ts';
import { createParts } from '../../../src/processes/parts.ts';
import { counted, createLogBook, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { startPooler, type PoolerKind } from '../../support/pooler.ts';
import { createTestRelay, type TestRelay } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

let log: EventLog;
const cleanUps: (() => Promise<unknown>)[] = [];
beforeAll(async () => {
  log = await startEventLog();
});
afterAll(async () => await log.stop());
beforeEach(async () => void (await sql`truncate outbox`.execute(log.db)));
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

const quick: ListenerPace = { probeEveryMilliseconds: 100, answerWithinMilliseconds: 1_000 };

type Listening = TestRelay & Readonly<{ arrived: ReadonlySet<string> }>;

function relayThatListensAt(listenUrl: string, listenerPace = quick): Listening {
  const arrived = new Set<string>();
  const deliver = async ({ event }: { event: { aggregateId: string } }): Promise<void> =>
    await Promise.resolve(void arrived.add(event.aggregateId));
  const test = createTestRelay(log, { deliver, listenUrl, listenerPace });
  cleanUps.push(async () => await test.stop());
  test.relay.start();
  return { ...test, arrived };
}

async function proxyToPostgres(): Promise<TcpProxy & { url: string }> {
  const url = new URL(log.url);
  const proxy = await startTcpProxy({ host: url.hostname, port: Number(url.port) });
  cleanUps.push(async () => await proxy.close());
  url.hostname = '127.0.0.1';
  url.port = String(proxy.port);
  return { ...proxy, url: url.href };
}

const notify = async (): Promise<unknown> => await sql`select pg_notify('athyper_outbox', '')`.execute(log.db);

/** Until a NOTIFY from elsewhere gets through; the loop's own polling pokes nobody. */
const untilItHears = async ({ wakeUp }: Pick<Listening, 'wakeUp'>): Promise<void> => {
  await eventually(async () => {
    const before = wakeUp.mark();
    await notify();
    const isPoked = async (): Promise<true | undefined> =>
      await Promise.resolve(wakeUp.mark() > before ? true : undefined);
    return await eventually(isPoked, 500).catch(() => undefined);
  });
};

/** Nobody pokes: found by NOTIFY, or by polling. */
async function deliversWhatIsAppended({ arrived }: Listening): Promise<void> {
  const id = newThing();
  await log.store.append(counted(id, 1));
  await eventually(async () => await Promise.resolve(arrived.has(id) ? true : undefined));
}

const said = ({ logged }: Pick<Listening, 'logged'>, beginning: string): number =>
  logged.filter((line) => line.startsWith(beginning)).length;
const untilSaid = async (relay: Pick<Listening, 'logged'>, beginning: string, times = 1): Promise<void> =>
  void (await eventually(async () => await Promise.resolve(said(relay, beginning) >= times ? true : undefined)));

describe('a LISTEN connection', () => {
  it('that goes dead without a word is noticed and made again, and meanwhile polling delivers', async () => {
    const proxy = await proxyToPostgres();
    const relay = relayThatListensAt(proxy.url);
    await untilItHears(relay);
    // One that has heard a probe is known to be no pooler.
    for (let n = 0; n < 2; n += 1) await untilProbedAgain();
    proxy.freeze();
    await deliversWhatIsAppended(relay);
    const before = relay.wakeUp.mark();
    await untilSaid(relay, 'LISTEN connection lost');
    await eventually(async () => await Promise.resolve(relay.wakeUp.mark() > before ? true : undefined));
    await untilItHears(relay);
    await untilSaid(relay, 'LISTEN works again');
  });

  it('that cannot be had is asked for again, and polling delivers', async () => {
    const proxy = await proxyToPostgres();
    const relay = relayThatListensAt(proxy.url);
    await untilItHears(relay);
    proxy.cut();
    await untilSaid(relay, 'LISTEN failed', 2);
    await deliversWhatIsAppended(relay);
    proxy.mend();
    await untilSaid(relay, 'LISTEN works again');
    await untilItHears(relay);
  });

  it('hears its own probes, and wakes nobody by them', async () => {
    // However slow the machine is, no answer is late.
    const relay = relayThatListensAt(log.url, { ...quick, answerWithinMilliseconds: 30_000 });
    await untilItHears(relay);
    const mark = relay.wakeUp.mark();
    // Two probes later, by the time at which the connection was asked last.
    for (let n = 0; n < 2; n += 1) await untilProbedAgain();
    expect(relay.wakeUp.mark()).toBe(mark);
    expect(relay.logged).toEqual([]);
  });

  it('that is dead does not keep the process from ending', async () => {
    const proxy = await proxyToPostgres();
    const relay = relayThatListensAt(proxy.url, { probeEveryMilliseconds: 60_000, answerWithinMilliseconds: 60_000 });
    await untilItHears(relay);
    proxy.freeze();
    await relay.stop();
  });
});

async function untilProbedAgain(): Promise<void> {
  const last = async (): Promise<string | undefined> => {
    const { rows } = await sql<{ at: string }>`
      select query_start::text as at from pg_stat_activity
      where datname = current_database() and application_name = 'athyper-listen'`.execute(log.db);
    return rows[0]?.at;
  };
  const before = await last();
  await eventually(async () => ((await last()) === before ? undefined : true));
}

describe('a pooler that', () => {
  it.each<[PoolerKind, string]>([
    ['refuses LISTEN', 'LISTEN failed; polling goes on'],
    ['brings no NOTIFY', 'LISTEN hears no NOTIFY'],
  ])('%s is warned of once, however often it is tried, and polling delivers', async (kind, words) => {
    const pooler = await startPooler(log.url, kind);
    cleanUps.push(async () => await pooler.close());
    const { logger, lines, warnings } = createLogBook();
    const wakeUp = createWakeUp({ db: log.db, logger, listenUrl: pooler.url, listenerPace: quick });
    cleanUps.push(async () => await wakeUp.close());
    await untilSaid({ logged: lines }, words, 2);
    expect(warnings.filter((line) => line.startsWith(words))).toHaveLength(1);
    const relay = relayThatListensAt(pooler.url);
    await deliversWhatIsAppended(relay);
  });

  it('stands before the database is passed by where DATABASE_DIRECT_URL leads past it', async () => {
    const pooler = await startPooler(log.url, 'brings no NOTIFY');
    cleanUps.push(async () => await pooler.close());
    const { logger, lines } = createLogBook();
    const settings = readSettings('relay', {
      DATABASE_URL: pooler.url,
      DATABASE_DIRECT_URL: log.url,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
    });
    const parts = createParts(settings, { role: 'relay', runsLoops: true, logger });
    cleanUps.push(async () => await parts.close());
    // A connect pokes, too. One that is made again, because it hears nothing, does so far more rarely.
    for (let n = 0; n < 8; n += 1) await untilItHears(parts);
    expect(lines).toEqual([]);
  });
});
