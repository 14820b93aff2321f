// The outbox in numbers, as metrics show it. What they cost: claim-cost.test.ts.
import { sql } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { readOutboxFigures } from '../../../src/outbox/outbox-figures.ts';
import { holdDestination, retryDeadLetters } from '../../../src/outbox/outbox-admin.ts';
import { counted, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { createTestRelay } from '../../support/relays.ts';

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog();
});
afterAll(async () => await log.stop());

const figures = async () => await readOutboxFigures(log.db, ['left', 'right']);
const idle = { pending: 0, oldestPendingSeconds: 0, dead: 0, blockedAggregates: 0, paused: false };

it('say what waits and for how long, what is dead, and what that holds up', async () => {
  expect(await figures()).toEqual([
    { ...idle, destination: 'left' },
    { ...idle, destination: 'right' },
  ]);
  const [thing, other] = [newThing(), newThing()];
  await log.store.append([counted(thing, 1), counted(thing, 2)]);
  await log.store.append([counted(other, 1), counted(other, 2)]);
  const relay = createTestRelay(log, {
    afterDeadLetter: 'block',
    mostAttempts: 1,
    deliver: async ({ event }) => {
      if (event.aggregateId === thing) throw new Error('never');
    },
  });
  while ((await relay.relay.processOutbox()) > 0);
  await sql`update outbox set created_at = now() - interval '1 hour' where version = 2`.execute(log.db);
  await holdDestination(log.db, 'right', true);
  const [left, right] = await figures();
  expect(left).toMatchObject({ pending: 1, dead: 1, blockedAggregates: 1, paused: false });
  expect(left?.oldestPendingSeconds).toBeGreaterThanOrEqual(3600);
  expect(left?.oldestPendingSeconds).toBeLessThan(3900);
  expect(right).toEqual({ ...idle, destination: 'right', paused: true });

  await retryDeadLetters(log.db, { tenantId: 'default', destination: 'left' });
  while ((await relay.relay.processOutbox()) > 0);
  expect((await figures())[0]).toMatchObject({ pending: 1, dead: 1, blockedAggregates: 1 });
  await relay.stop();
});
