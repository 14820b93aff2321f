// Integration events as deliveries: written once per destination, in the caller's transaction, and read back whole.
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { IntegrationEvent } from '../../../src/domain/integration-event.ts';
import { enqueueIntegrationEvent, readIntegrationEvent } from '../../../src/integration/integration-outbox.ts';
import { delivered, PermanentDeliveryError } from '../../../src/outbox/delivery.ts';
import { createRelay } from '../../../src/outbox/relay.ts';
import { createWakeUp } from '../../../src/outbox/wake-up.ts';
import { createLogBook, made, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { integrationEvent } from '../../support/integration-events.ts';

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog();
});
afterAll(async () => await log.stop());

const enqueue = async (event: IntegrationEvent, destinations: readonly string[]): Promise<void> =>
  await log.db.transaction().execute(async (tx) => await enqueueIntegrationEvent(tx, event, destinations));

/** Delivers what is due, to a destination that takes integration events. */
async function drain(destination: string): Promise<readonly IntegrationEvent[]> {
  const arrived: IntegrationEvent[] = [];
  const { logger } = createLogBook();
  const wakeUp = createWakeUp({ db: log.db, logger, listenUrl: undefined });
  const relay = createRelay<IntegrationEvent>({
    db: log.db,
    wakeUp,
    logger,
    decode: readIntegrationEvent,
    policy: {
      destination,
      deliver: async ({ event }) => {
        arrived.push(event);
        return await Promise.resolve(delivered);
      },
      afterDeadLetter: 'continue',
      mostAttempts: 3,
      concurrency: 2,
    },
  });
  while ((await relay.processOutbox()) > 0);
  await wakeUp.close();
  return arrived;
}

const rowsOf = async (eventId: string) =>
  await log.db.selectFrom('outbox').selectAll().where('id', '=', eventId).orderBy('destination').execute();

it('arrives at each destination as it was translated, beside the event that it translates', async () => {
  const source = made(newThing());
  const [stored] = await log.store.append(source);
  const event = integrationEvent({ eventId: source.eventId, aggregateId: source.aggregateId });
  await enqueue(event, ['there', 'here']);

  expect(await drain('here')).toEqual([event]);
  expect(await drain('there')).toEqual([event]);
  const rows = await rowsOf(event.eventId);
  expect(rows.map(({ destination, position }) => [destination, Number(position)])).toEqual(
    ['here', 'left', 'right', 'there'].map((destination) => [destination, Number(stored?.position)]),
  );
});

it('is written once per destination, however often it is translated', async () => {
  const event = integrationEvent({ aggregateId: 'thing-twice' });
  await enqueue(event, ['twice']);
  expect(await drain('twice')).toHaveLength(1);
  await Promise.all(Array.from({ length: 5 }, async () => await enqueue({ ...event, data: {} }, ['twice', 'more'])));

  expect(await drain('twice')).toEqual([]);
  expect(await drain('more')).toHaveLength(1);
  expect((await rowsOf(event.eventId)).map(({ state }) => state)).toEqual(['done', 'done']);
});

it('is not written where its transaction rolls back', async () => {
  const event = integrationEvent({ aggregateId: 'thing-undone' });
  const lost = log.db.transaction().execute(async (tx) => {
    await enqueueIntegrationEvent(tx, event, ['undone']);
    throw new Error('after all');
  });
  await expect(lost).rejects.toThrow('after all');
  expect(await rowsOf(event.eventId)).toEqual([]);
});

it('keeps the order of its aggregate, whoever wrote first', async () => {
  const events = [3, 1, 2].map((sequence) => integrationEvent({ aggregateId: 'thing-row', sequence }));
  for (const event of events) await enqueue(event, ['row']);
  expect((await drain('row')).map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
});

it('meets no deadlock, in whatever order its writers name the destinations', async () => {
  const names = ['a', 'b', 'c', 'd'];
  await Promise.all(
    Array.from({ length: 40 }, async (_, n) => {
      const event = integrationEvent({ aggregateId: 'thing-crowd', sequence: n + 1 });
      await enqueue(event, n % 2 === 0 ? names : names.toReversed());
    }),
  );
  expect((await drain('c')).map(({ sequence }) => sequence)).toEqual(Array.from({ length: 40 }, (_, n) => n + 1));
});

it('refuses to take a domain event for one', async () => {
  const [row] = await rowsOf((await log.store.append(made(newThing())))[0]?.eventId ?? '');
  if (row === undefined) throw new Error('it was stored');
  expect(() => readIntegrationEvent(row)).toThrow(PermanentDeliveryError);
});
