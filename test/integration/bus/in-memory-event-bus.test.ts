// The bus within one process.
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { HandlerContext } from '../../../src/bus/event-bus.ts';
import { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import type { DomainEvent, StoredEvent } from '../../../src/domain/event.ts';
import { connectDatabase, type Db } from '../../../src/platform/database.ts';
import { busContract, type BusUnderTest } from '../../support/bus-contract.ts';
import { effectsOf, recordEffect, recorder, tableOfEffects } from '../../support/effects.ts';
import { made, newThing, startEventLog, storedAt, type EventLog } from '../../support/event-log.ts';
import { createTestRelay, type TestRelay } from '../../support/relays.ts';
import { startDatabaseProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

async function makeBus(log: EventLog): Promise<BusUnderTest> {
  const bus = new InMemoryEventBus({ db: log.db });
  const reports: string[] = [];
  return await Promise.resolve({
    bus,
    reports,
    async send(event: StoredEvent) {
      for (;;) {
        try {
          await bus.deliver(event);
          return;
        } catch (error) {
          if (!(error instanceof AggregateError) || reports.push(error.message) > 10) throw error;
        }
      }
    },
  });
}

busContract('InMemoryEventBus', makeBus);

describe('a delivery in memory', () => {
  let log: EventLog;
  beforeAll(async () => {
    log = await startEventLog();
    await tableOfEffects.execute(log.db);
  });
  afterAll(async () => await log.stop());

  it('resolves when the handlers have committed', async () => {
    const { bus } = await makeBus(log);
    const event = storedAt(made(newThing()), 1);
    bus.subscribe('thing.made', recorder('named'), { name: 'named' });
    await bus.deliver(event);
    expect(await effectsOf(log, event.aggregateId)).toHaveLength(1);
  });

  it('rejects with every failure, each under its handler’s name', async () => {
    const { bus } = await makeBus(log);
    const fail = (message: string) => (): void => {
      throw new Error(message);
    };
    bus.subscribe('thing.made', fail('one'), { name: 'first' });
    bus.subscribe('thing.made', () => {}, { name: 'good' });
    bus.subscribe('thing.made', async function second() {
      await Promise.reject(new TypeError('two'));
    });
    bus.subscribe('thing.made', fail('three'));
    const failure: unknown = await bus.deliver(storedAt(made(newThing()), 1)).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(AggregateError);
    const { message, errors } = failure as AggregateError;
    expect(message).toMatch(/^3 of 4 handlers failed \(first, second, .+\)$/);
    expect(errors.map(String)).toEqual(['Error: one', 'TypeError: two', 'Error: three']);
  });

  it.each<[string, (context: HandlerContext) => Promise<unknown>]>([
    ['never settles', async () => await new Promise(() => undefined)],
    ['waits for a statement that never ends', async ({ tx }) => await sql`select pg_sleep(60)`.execute(tx)],
  ])('gives up on a handler that %s: the others have run, and the bus works on', async (_, hang) => {
    const bus = new InMemoryEventBus({ db: log.db, handlerSeconds: 1 });
    const event = storedAt(made(newThing()), 1);
    const remove = bus.subscribe('thing.made', async (__, context) => void (await hang(context)), { name: 'stuck' });
    bus.subscribe('thing.made', recorder('good'), { name: 'good' });
    await expect(bus.deliver(event)).rejects.toThrow('1 of 2 handlers failed (stuck)');
    expect(await effectsOf(log, event.aggregateId)).toHaveLength(1);
    remove();
    await bus.deliver(event);
    expect(await effectsOf(log, event.aggregateId)).toHaveLength(1);
  });

  it('has no effect of a handler that comes round after its time', async () => {
    const bus = new InMemoryEventBus({ db: log.db, handlerSeconds: 0.2 });
    const event = storedAt(made(newThing()), 1);
    const wake = Promise.withResolvers<void>();
    const late = Promise.withResolvers<unknown>();
    bus.subscribe('thing.made', async (received, context) => {
      await wake.promise;
      await recordEffect('late', received, context).then(late.resolve, late.resolve);
    });
    await expect(bus.deliver(event)).rejects.toThrow('handlers failed');
    wake.resolve();
    expect(await late.promise).toBeInstanceOf(Error);
    expect(await effectsOf(log, event.aggregateId)).toEqual([]);
  });

  describe('while the database is away from the handlers', () => {
    let relay: TestRelay;
    let bus: InMemoryEventBus;
    let proxy: TcpProxy;
    let handlersDb: Db;
    beforeEach(async () => {
      const way = await startDatabaseProxy(log.url);
      proxy = way.proxy;
      handlersDb = connectDatabase({
        url: way.url,
        poolSize: 5,
        applicationName: 'test',
        onIdleError: () => undefined,
      });
      bus = new InMemoryEventBus({ db: handlersDb });
      relay = createTestRelay(log, { deliver: async ({ event }) => await bus.deliver(event), mostAttempts: 2 });
    });
    afterEach(async () => {
      await relay.stop();
      await handlersDb.destroy();
      await proxy.close();
    });

    const rounds = async (count: number): Promise<void> => {
      while (count-- > 0) await relay.relay.processOutbox();
    };
    const deliveryOf = async ({ eventId }: DomainEvent) =>
      await log.db
        .selectFrom('outbox')
        .select(['state', 'attempts', 'last_error as error'])
        .where('id', '=', eventId)
        .where('destination', '=', 'left')
        .executeTakeFirstOrThrow();

    it('burns no attempt, however often it is tried, and the effect comes once when it is back', async () => {
      bus.subscribe('thing.made', recorder('one'), { name: 'one' });
      bus.subscribe('thing.made', recorder('two'), { name: 'two' });
      const event = made(newThing());
      await log.store.append(event);
      proxy.cut();
      await rounds(5);
      const away = await deliveryOf(event);
      expect(away).toMatchObject({ state: 'pending', attempts: 0 });
      expect(away.error).toMatch(/^UnavailableError: .*2 of 2 handlers failed \(one, two\)/);
      expect(await effectsOf(log, event.aggregateId)).toEqual([]);
      proxy.mend();
      await rounds(1);
      expect(await deliveryOf(event)).toMatchObject({ state: 'done', attempts: 1 });
      expect(await effectsOf(log, event.aggregateId)).toHaveLength(2);
    });

    it('counts the attempt all the same where another handler has a fault of its own', async () => {
      const isCut = async (_: DomainEvent, { tx }: HandlerContext): Promise<void> =>
        void (await sql`select pg_terminate_backend(pg_backend_pid())`.execute(tx));
      bus.subscribe('thing.made', isCut, { name: 'cut' });
      bus.subscribe('thing.made', () => Promise.reject(new Error('its own')), { name: 'broken' });
      const event = made(newThing());
      await log.store.append(event);
      await rounds(1);
      expect(await deliveryOf(event)).toMatchObject({ state: 'pending', attempts: 1 });
    });
  });
});
