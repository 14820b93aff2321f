// A handler that is slower than the events come: the relay takes on no more than it may have under way, however much waits.
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fillOutbox } from '../../support/backlog.ts';
import { startEventLog, type EventLog } from '../../support/event-log.ts';
import { createTestRelay } from '../../support/relays.ts';
import { eventually } from '../../support/saga-service.ts';

const concurrency = 5;
let log: EventLog;
beforeAll(async () => {
  log = await startEventLog();
  await fillOutbox(log.db, { name: 'backlog', aggregates: 5_000, each: 10, state: 'pending' });
});
afterAll(async () => await log.stop());

async function counts(): Promise<Readonly<{ leased: number; done: number }>> {
  const { rows } = await sql<{ leased: number; done: number }>`
    select count(*) filter (where locked_until > now())::int as leased, count(*) filter (where published)::int as done
    from outbox`.execute(log.db);
  return rows[0] ?? { leased: -1, done: -1 };
}

/** Of claims beside a backlog, each of which a busy machine may take seconds for. */
const rounds = 10;
const roundMilliseconds = 60_000;

it(
  'a relay in front of a slow handler holds as many of 50,000 deliveries as it may have under way',
  { timeout: 3 * roundMilliseconds },
  async () => {
    let underWay = 0;
    let most = 0;
    let waiting: (() => void)[] = [];
    const test = createTestRelay(log, {
      concurrency,
      async deliver() {
        underWay += 1;
        most = Math.max(most, underWay);
        await new Promise<void>((resolve) => waiting.push(resolve));
        underWay -= 1;
      },
    });
    test.relay.start();
    for (let round = 0; round < rounds; round += 1) {
      await eventually(
        async () => await Promise.resolve(waiting.length === concurrency ? true : undefined),
        roundMilliseconds,
      );
      for (let n = 0; n < 10; n += 1) test.wakeUp.poke();
      // While they are under way nothing more is claimed, however often the relay is woken.
      expect(await counts()).toEqual({ leased: concurrency, done: round * concurrency });
      const taken = waiting;
      waiting = [];
      for (const finish of taken) finish();
    }
    await eventually(
      async () => await Promise.resolve(waiting.length === concurrency ? true : undefined),
      roundMilliseconds,
    );
    const stopping = test.stop();
    for (const finish of waiting) finish();
    await stopping;
    expect(most).toBe(concurrency);
    expect(await counts()).toEqual({ leased: 0, done: (rounds + 1) * concurrency });
  },
);
