// What every transport of the bus promises to its handlers. One suite, run on each of them.
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { BusTransport, EventHandler } from '../../src/bus/event-bus.ts';
import type { DomainEvent, StoredEvent } from '../../src/domain/event.ts';
import { effectsOf, recordEffect, recorder, tableOfEffects, type Effect } from './effects.ts';
import { counted, made, newThing, startEventLog, storedAt, type EventLog } from './event-log.ts';
import { eventually } from './saga-service.ts';

export type BusUnderTest = Readonly<{
  bus: BusTransport;
  /** Delivers as the relay does: again until the bus has taken it. In memory that is when it is handled. */
  send(event: StoredEvent): Promise<void>;
  /** What the bus has said of failures: to whoever delivered, or in its log. */
  reports: readonly string[];
}>;
export type MakeBus = (log: EventLog) => Promise<BusUnderTest>;

export function busContract(name: string, makeBus: MakeBus): void {
  describe(`${name}: the contract of the bus`, () => {
    let log: EventLog;
    let test: BusUnderTest;
    beforeAll(async () => {
      log = await startEventLog({ poolSize: 30 });
      await tableOfEffects.execute(log.db);
    });
    afterAll(async () => await log.stop());
    beforeEach(async () => {
      test = await makeBus(log);
    });
    afterEach(async () => await test.bus.close());

    const effects = async (aggregateId: string, count: number): Promise<readonly Effect[]> =>
      await eventually(async () => {
        const found = await effectsOf(log, aggregateId);
        return found.length >= count ? found : undefined;
      });
    /** Everything that was sent before is handled: events of one aggregate keep their order. */
    const settled = async (aggregateId: string, version = 1_000): Promise<void> => {
      const seen = Promise.withResolvers<void>();
      const unsubscribe = test.bus.subscribe('thing.hidden', (event) => {
        if (event.aggregateId === aggregateId) seen.resolve();
      });
      await test.send({ ...storedAt(made(aggregateId), version), eventType: 'thing.hidden', payload: {} });
      await seen.promise;
      unsubscribe();
    };

    it('hands an event to every handler of its type and to no other, with a real Date', async () => {
      const event = storedAt(made(newThing()), 1);
      const seen: [string, DomainEvent][] = [];
      for (const handler of ['one', 'two']) {
        test.bus.subscribe('thing.made', (received) => void seen.push([handler, received]), { name: handler });
      }
      test.bus.subscribe('thing.counted', (received) => void seen.push(['other', received]));
      await test.send(event);
      await settled(event.aggregateId);
      expect(seen.toSorted(([a], [b]) => a.localeCompare(b))).toEqual([
        ['one', event],
        ['two', event],
      ]);
      expect(seen[0]?.[1].occurredAt).toBeInstanceOf(Date);
    });

    it('gives each handler a copy of its own', async () => {
      const event = storedAt(made(newThing(), 'lamp'), 1);
      const seen: string[] = [];
      for (const handler of ['one', 'two', 'three']) {
        test.bus.subscribe('thing.made', (received) => {
          const payload = received.payload as { name: string };
          seen.push(payload.name);
          payload.name = `spoilt by ${handler}`;
        });
      }
      await test.send(event);
      await settled(event.aggregateId);
      expect(seen).toEqual(['lamp', 'lamp', 'lamp']);
      expect(event.payload).toEqual({ name: 'lamp' });
    });

    it('is done with an event that nobody handles', async () => {
      const event = storedAt(made(newThing()), 1);
      await test.send(event);
      await settled(event.aggregateId);
      expect(test.reports).toEqual([]);
    });

    it.each<[string, () => Promise<void>]>([
      [
        'throws at once',
        () => {
          throw new Error('broken');
        },
      ],
      ['rejects', async () => await Promise.reject(new Error('broken'))],
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors
      ['rejects with no Error', async () => await Promise.reject('broken')],
      // oxlint-disable-next-line typescript/prefer-promise-reject-errors
      ['rejects with nothing', async () => await Promise.reject()],
    ])('runs the others when a handler %s, names the broken one, and comes again', async (_, fail) => {
      const event = storedAt(made(newThing()), 1);
      let failures = 0;
      test.bus.subscribe('thing.made', recorder('before'), { name: 'before' });
      const broken: EventHandler = async (received, context) => {
        await recordEffect('broken', received, context);
        failures += 1;
        if (failures <= 2) await fail();
      };
      test.bus.subscribe('thing.made', broken, { name: 'a-broken-one' });
      test.bus.subscribe('thing.made', recorder('after'), { name: 'after' });
      await test.send(event);
      const found = await effects(event.aggregateId, 3);
      expect(failures).toBe(3);
      expect(found.map((effect) => effect.handler).toSorted()).toEqual(['after', 'before', 'broken']);
      expect(found.at(-1)?.handler).toBe('broken');
      expect(test.reports.length).toBeGreaterThanOrEqual(2);
      for (const report of test.reports) expect(report).toContain('1 of 3 handlers failed (a-broken-one)');
    });

    it('keeps its subscriptions after a failure', async () => {
      const id = newThing();
      let fail = true;
      test.bus.subscribe('thing.counted', () => {
        const failing = fail;
        fail = false;
        if (failing) throw new Error('once');
      });
      test.bus.subscribe('thing.counted', recorder('steady'), { name: 'steady' });
      for (const version of [1, 2]) await test.send(storedAt(counted(id, version), version));
      expect((await effects(id, 2)).map((effect) => effect.version)).toEqual([1, 2]);
    });

    it('rolls back what a failing handler wrote, and the others’ effects stay', async () => {
      const event = storedAt(made(newThing()), 1);
      let failures = 0;
      test.bus.subscribe('thing.made', recorder('good'), { name: 'good' });
      test.bus.subscribe(
        'thing.made',
        async (received, context) => {
          await recordEffect(`bad ${failures}`, received, context);
          failures += 1;
          if (failures === 1) throw new Error('after the write');
        },
        { name: 'bad' },
      );
      await test.send(event);
      const found = await effects(event.aggregateId, 2);
      expect(found.map((effect) => effect.handler)).toEqual(['good', 'bad 1']);
    });

    it('does not take a handler for done that swallowed the error of its statement', async () => {
      const event = storedAt(made(newThing()), 1);
      let runs = 0;
      test.bus.subscribe(
        'thing.made',
        async (received, context) => {
          runs += 1;
          await recordEffect('swallowing', received, context);
          if (runs === 1) await sql`select 1 / 0`.execute(context.tx).catch(() => undefined);
        },
        { name: 'swallowing' },
      );
      await test.send(event);
      expect(await effects(event.aggregateId, 1)).toHaveLength(1);
      expect(runs).toBe(2);
    });

    it('has the effect of a named handler once, for the same event five times in a row', async () => {
      const event = storedAt(made(newThing()), 1);
      test.bus.subscribe('thing.made', recorder('named'), { name: 'named' });
      for (let n = 0; n < 5; n += 1) await test.send(event);
      await settled(event.aggregateId);
      expect(await effectsOf(log, event.aggregateId)).toHaveLength(1);
      const inbox = await log.db.selectFrom('inbox').selectAll().where('event_id', '=', event.eventId).execute();
      expect(inbox.map((row) => row.handler_name)).toEqual(['named']);
    });

    it('has the effect of a named handler once, for the same event five times at once', async () => {
      const event = storedAt(made(newThing()), 1);
      let running = 0;
      test.bus.subscribe(
        'thing.made',
        async (received, context) => {
          running += 1;
          await recordEffect('named', received, context);
          await sql`select pg_sleep(0.05)`.execute(context.tx);
        },
        { name: 'named' },
      );
      await Promise.all(Array.from({ length: 5 }, async () => await test.send(event)));
      await settled(event.aggregateId);
      expect(await effectsOf(log, event.aggregateId)).toHaveLength(1);
      expect(running).toBe(1);
    });

    it('calls an unnamed handler at least once, and again when the event comes again', async () => {
      const event = storedAt(made(newThing()), 1);
      test.bus.subscribe('thing.made', recorder('unnamed'));
      for (let n = 0; n < 3; n += 1) await test.send(event);
      await settled(event.aggregateId);
      expect(await effectsOf(log, event.aggregateId)).toHaveLength(3);
    });

    it('tells handlers of two types apart that share a name, and refuses a name twice for one type', async () => {
      const id = newThing();
      test.bus.subscribe('thing.made', recorder('made'), { name: 'shared' });
      test.bus.subscribe('thing.counted', recorder('counted'), { name: 'shared' });
      expect(() => test.bus.subscribe('thing.made', recorder('again'), { name: 'shared' })).toThrow(
        /named shared already/,
      );
      await test.send(storedAt(made(id), 1));
      await test.send(storedAt(counted(id, 2), 2));
      expect((await effects(id, 2)).map((effect) => effect.handler)).toEqual(['made', 'counted']);
    });

    it('removes one handler only when it unsubscribes, also twice, and its name is free again', async () => {
      const id = newThing();
      const handler = recorder('kept');
      const unsubscribe = test.bus.subscribe('thing.made', handler);
      test.bus.subscribe('thing.made', handler);
      const removeNamed = test.bus.subscribe('thing.made', recorder('removed'), { name: 'one' });
      unsubscribe();
      unsubscribe();
      removeNamed();
      test.bus.subscribe('thing.made', recorder('next'), { name: 'one' });
      removeNamed();
      await test.send(storedAt(made(id), 1));
      await settled(id);
      const handlers = (await effectsOf(log, id)).map((effect) => effect.handler);
      expect(handlers.toSorted()).toEqual(['kept', 'next']);
    });

    it('starts a handler that is new from now: it gets nothing that was delivered before, though it has a new name', async () => {
      const id = newThing();
      test.bus.subscribe('thing.counted', recorder('old'), { name: 'old' });
      await test.send(storedAt(counted(id, 1), 1));
      await effects(id, 1);
      test.bus.subscribe('thing.counted', recorder('new'), { name: 'new' });
      await test.send(storedAt(counted(id, 2), 2));
      await settled(id);
      const of = (handler: string, all: readonly Effect[]): readonly number[] =>
        all.filter((effect) => effect.handler === handler).map((effect) => effect.version);
      const found = await effectsOf(log, id);
      expect(of('old', found)).toEqual([1, 2]);
      expect(of('new', found)).toEqual([2]);
    });

    it('keeps the order of each aggregate', async () => {
      const ids = Array.from({ length: 10 }, newThing);
      test.bus.subscribe('thing.counted', recorder('ordered'), { name: 'ordered' });
      await Promise.all(
        ids.map(async (id) => {
          for (let version = 1; version <= 10; version += 1) await test.send(storedAt(counted(id, version), version));
        }),
      );
      for (const id of ids) {
        const versions = (await effects(id, 10)).map((effect) => effect.version);
        expect(versions).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      }
    });

    it('keeps it while an event in the middle fails for some time', async () => {
      const id = newThing();
      let failures = 2;
      test.bus.subscribe(
        'thing.counted',
        async (event, context) => {
          const stored = event as StoredEvent;
          if (stored.version === 2 && failures-- > 0) throw new Error('not yet');
          await recordEffect('ordered', stored, context);
        },
        { name: 'ordered' },
      );
      for (const version of [1, 2, 3]) await test.send(storedAt(counted(id, version), version));
      expect((await effects(id, 3)).map((effect) => effect.version)).toEqual([1, 2, 3]);
    });

    it('lets a handler write nothing after it has returned', async () => {
      const event = storedAt(made(newThing()), 1);
      const late = Promise.withResolvers<unknown>();
      test.bus.subscribe('thing.made', (received, context) => {
        setTimeout(() => {
          recordEffect('late', received, context).then(late.resolve, late.resolve);
        }, 300);
      });
      await test.send(event);
      expect(await late.promise).toBeInstanceOf(Error);
      expect(await effectsOf(log, event.aggregateId)).toEqual([]);
    });

    it('when it closes waits for the handlers that run', async () => {
      const event = storedAt(made(newThing()), 1);
      const started = Promise.withResolvers<void>();
      test.bus.subscribe(
        'thing.made',
        async (received, context) => {
          started.resolve();
          await sql`select pg_sleep(0.3)`.execute(context.tx);
          await recordEffect('slow', received, context);
        },
        { name: 'slow' },
      );
      const sent = test.send(event);
      await started.promise;
      await test.bus.close();
      expect(await effectsOf(log, event.aggregateId)).toHaveLength(1);
      await sent;
    });
  });
}
