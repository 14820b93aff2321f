// What every way to use the event store promises to who appends: order, all or nothing, one winner, and once. One suite,
// run on each of them.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConflictError } from '../../src/domain/errors.ts';
import type { DomainEvent, StoredEvent } from '../../src/domain/event.ts';
import type { ExpectedVersion } from '../../src/event-store/append.ts';
import { InvalidEventError } from '../../src/event-store/event-codec.ts';
import type { LogPage } from '../../src/event-store/event-store.ts';
import { counted, hidden, made, newThing, noted, startEventLog, type EventLog } from './event-log.ts';
import { eventually } from './saga-service.ts';

/** Returns, or rejects, when the append is committed or rolled back. */
export type Append = (
  events: DomainEvent | readonly DomainEvent[],
  expectedVersion?: ExpectedVersion,
) => Promise<readonly StoredEvent[]>;

export type RowsOf = Readonly<{ events: number; outbox: number; version: number | undefined }>;
export const nothing: RowsOf = { events: 0, outbox: 0, version: undefined };

/** All that an append leaves: also a stream's row, or a lane, without events. */
export async function rowsOf({ db }: EventLog, aggregateId: string): Promise<RowsOf> {
  const { rows } = await sql<{ events: number; outbox: number; lanes: number; version: number | null }>`
    select (select count(*)::int from events where aggregate_id = ${aggregateId}) as events,
           (select count(*)::int from outbox where aggregate_id = ${aggregateId}) as outbox,
           (select count(*)::int from outbox_lanes where aggregate_id = ${aggregateId}) as lanes,
           (select version from streams where aggregate_id = ${aggregateId}) as version`.execute(db);
  const { events = -1, outbox = -1, lanes = -1, version } = rows[0] ?? {};
  if (outbox === 0) expect(lanes).toBe(0);
  return { events, outbox, version: version ?? undefined };
}

export async function conflictOf(append: Promise<unknown>): Promise<ConflictError> {
  const error: unknown = await append.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ConflictError);
  return error as ConflictError;
}

export function eventStoreContract(name: string, use: (log: EventLog) => Append): void {
  describe(`${name}: the contract of the event store`, () => {
    let log: EventLog;
    let test: Readonly<{ append: Append }>;
    beforeAll(async () => {
      log = await startEventLog();
      test = { append: use(log) };
    });
    afterAll(async () => await log.stop());

    const rowsIn = async (aggregateId: string): Promise<RowsOf> => await rowsOf(log, aggregateId);
    /** When no older transaction is open any more, in any database of the cluster. */
    const eventuallyRead = async (aggregateId: string): Promise<LogPage> =>
      await eventually(async () => {
        const page = await log.store.readLog({ aggregateId });
        return page.events.length > 0 ? page : undefined;
      });

    describe('an append', () => {
      it('of one event gives it version 1 and keeps it as it was', async () => {
        const event = made(newThing());
        const [stored] = await test.append(event);
        expect(stored).toMatchObject({ ...event, version: 1, schemaVersion: 1 });
        expect(await log.store.getEvents(event.aggregateId)).toEqual([stored]);
        expect(stored?.occurredAt).toBeInstanceOf(Date);
      });

      it('of many gives versions and positions in their order, and the schema version of each type', async () => {
        const id = newThing();
        const events = [made(id), ...Array.from({ length: 20 }, (_, n) => counted(id, n)), hidden(id)];
        const stored = await test.append(events);
        expect(stored.map((event) => event.version)).toEqual(events.map((_, index) => index + 1));
        const positions = stored.map((event) => BigInt(event.position));
        expect(positions.toSorted((a, b) => (a < b ? -1 : 1))).toEqual(positions);
        const read = await log.store.getEvents(id);
        expect(read.map((event) => event.eventId)).toEqual(events.map((event) => event.eventId));
        expect(read.map((event) => event.schemaVersion)).toEqual([1, ...Array.from({ length: 20 }, () => 2), 1]);
        const later = await log.store.getEvents(id, { fromVersion: 21 });
        expect(later.map((event) => event.version)).toEqual([21, 22]);
      });

      it('goes on where the stream ends', async () => {
        const id = newThing();
        await test.append([made(id), counted(id, 1)]);
        const [third] = await test.append(counted(id, 2), 2);
        expect(third?.version).toBe(3);
      });

      it('of none does nothing', async () => {
        expect(await test.append([])).toEqual([]);
      });

      it('writes one aggregate only', async () => {
        await expect(test.append([made(newThing()), made(newThing())])).rejects.toThrow(TypeError);
      });

      it('tells the relay when it has committed, and not when it is refused', async () => {
        const id = newThing();
        const before = log.commits();
        await test.append(made(id));
        expect(log.commits()).toBe(before + 1);
        await conflictOf(test.append(made(id), 'none'));
        expect(log.commits()).toBe(before + 1);
      });

      it('stores payload and metadata as jsonb objects that SQL can read', async () => {
        const id = newThing();
        await test.append(made(id, 'a "quoted" name, 😀, \\u0041'));
        const { rows } = await sql`
          select jsonb_typeof(payload) as payload, jsonb_typeof(metadata) as metadata, payload->>'name' as name,
                 metadata->>'tenantId' as tenant, tenant_id from events where aggregate_id = ${id}`.execute(log.db);
        expect(rows).toEqual([
          {
            payload: 'object',
            metadata: 'object',
            name: 'a "quoted" name, 😀, \\u0041',
            tenant: 'default',
            tenant_id: 'default',
          },
        ]);
      });

      it('writes a delivery for each destination of its type, as the routing table says', async () => {
        const id = newThing();
        const events = [made(id), counted(id, 1), hidden(id)];
        await test.append(events);
        const rows = await log.db
          .selectFrom('outbox')
          .select(['event_type', 'destination', 'version', 'state', 'attempts', 'published', 'payload'])
          .where('aggregate_id', '=', id)
          .orderBy('version')
          .orderBy('destination')
          .execute();
        const pending = { state: 'pending', attempts: 0, published: false };
        expect(rows).toEqual([
          { ...pending, event_type: 'thing.made', destination: 'left', version: 1, payload: { name: 'lamp' } },
          { ...pending, event_type: 'thing.made', destination: 'right', version: 1, payload: { name: 'lamp' } },
          { ...pending, event_type: 'thing.counted', destination: 'left', version: 2, payload: { n: 1 } },
        ]);
      });
    });

    describe('the expected version', () => {
      it.each<[ExpectedVersion, number, boolean]>([
        ['none', 0, true],
        ['none', 2, false],
        [0, 0, true],
        [0, 2, false],
        [2, 2, true],
        [1, 2, false],
        [3, 2, false],
        [1, 0, false],
        ['exists', 0, false],
        ['exists', 2, true],
        ['any', 0, true],
        ['any', 2, true],
      ])('%s, where the stream is at %i: %s', async (expectedVersion, at, succeeds) => {
        const id = newThing();
        if (at > 0) await test.append(Array.from({ length: at }, (_, n) => counted(id, n)));
        const append = test.append(made(id), expectedVersion);
        if (succeeds) {
          expect((await append)[0]?.version).toBe(at + 1);
        } else {
          const conflict = await conflictOf(append);
          expect(conflict.actualVersion).toBe(at);
          expect(conflict.message).toContain(`${id} is at version ${at}, expected was ${expectedVersion}`);
        }
        const left = succeeds ? at + 1 : at;
        expect(await rowsIn(id)).toEqual({
          events: left,
          outbox: at + (succeeds ? 2 : 0),
          version: left === 0 ? undefined : left,
        });
      });

      it.each<[ExpectedVersion, number]>([
        ['none', 0],
        [0, 0],
        [1, 1],
      ])(
        'of %s lets one win of those who write at the same time, and tells the others where the stream is',
        async (expectedVersion, start) => {
          const id = newThing();
          if (start === 1) await test.append(made(id));
          const writers = Array.from(
            { length: 8 },
            async (_, n) => await test.append([counted(id, n), counted(id, n)], expectedVersion),
          );
          const results = await Promise.allSettled(writers);
          const lost = results.filter((result) => result.status === 'rejected');
          expect(lost).toHaveLength(7);
          for (const { reason } of lost) {
            expect(reason).toBeInstanceOf(ConflictError);
            expect(reason).toMatchObject({ actualVersion: start + 2 });
          }
          expect(await rowsIn(id)).toEqual({ events: start + 2, outbox: start * 2 + 2, version: start + 2 });
        },
      );

      it('of exists is met by nobody who writes before the stream is there', async () => {
        const id = newThing();
        const others = Promise.allSettled(
          Array.from({ length: 8 }, async (_, n) => await test.append(counted(id, n), 'exists')),
        );
        await test.append(made(id), 'none');
        const results = await others;
        const won = results.filter((result) => result.status === 'fulfilled').flatMap(({ value }) => value);
        for (const result of results) {
          if (result.status === 'rejected') expect(result.reason).toMatchObject({ name: 'ConflictError' });
        }
        expect(won.map(({ version }) => version).toSorted((a, b) => a - b)).toEqual(won.map((_, index) => index + 2));
        expect(await rowsIn(id)).toEqual({ events: won.length + 1, outbox: won.length + 2, version: won.length + 1 });
      });

      it('of any gives everybody who writes at the same time versions without a gap', async () => {
        const id = newThing();
        await Promise.all(
          Array.from({ length: 10 }, async (_, n) => await test.append([counted(id, n), counted(id, n)])),
        );
        const versions = (await log.store.getEvents(id)).map((event) => event.version);
        expect(versions).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
      });

      it('cannot be met by a stream of another type or tenant', async () => {
        const event = made(newThing());
        await test.append(event);
        const other = { ...made(event.aggregateId), aggregateType: 'gadget' };
        expect((await conflictOf(test.append(other))).message).toContain('another type or tenant');
        const foreign = { ...made(event.aggregateId), metadata: { tenantId: 'acme' } };
        for (const expectedVersion of ['any', 'exists', 1] as const) {
          expect((await conflictOf(test.append(foreign, expectedVersion))).message).toContain('type or tenant');
        }
        expect(await rowsIn(event.aggregateId)).toMatchObject({ events: 1 });
      });
    });

    describe('the same events again', () => {
      it.each<ExpectedVersion>(['any', 'none', 'exists', 0, 2])(
        'are a success without a new row, expecting %s',
        async (expectedVersion) => {
          const id = newThing();
          const events = [made(id), counted(id, 1)];
          const first = await test.append(events);
          await test.append(counted(id, 2));
          const second = await test.append(events, expectedVersion);
          expect(second).toEqual(first);
          expect(await rowsIn(id)).toEqual({ events: 3, outbox: 4, version: 3 });
        },
      );

      it.each<[string, (event: DomainEvent) => DomainEvent]>([
        ['another payload', (event) => ({ ...event, payload: { name: 'shade' } })],
        ['another type', (event) => ({ ...event, eventType: 'thing.counted', payload: { n: 1 } })],
        ['another aggregate', (event) => ({ ...event, aggregateId: newThing() })],
      ])('with %s are a conflict', async (_, change) => {
        const event = made(newThing());
        await test.append(event);
        const changed = change(event);
        await conflictOf(test.append(changed));
        expect(await rowsIn(event.aggregateId)).toEqual({ events: 1, outbox: 2, version: 1 });
        if (changed.aggregateId !== event.aggregateId) expect(await rowsIn(changed.aggregateId)).toEqual(nothing);
      });

      it('together with new ones are a conflict: an append happened whole or not at all', async () => {
        const id = newThing();
        const first = made(id);
        await test.append(first);
        await conflictOf(test.append([first, counted(id, 1)]));
        expect(await rowsIn(id)).toEqual({ events: 1, outbox: 2, version: 1 });
      });

      it('at the same time are one', async () => {
        for (const expectedVersion of ['any', 'none', 'exists'] as const) {
          const id = newThing();
          if (expectedVersion === 'exists') await test.append(hidden(id));
          const event = made(id);
          const stored = await Promise.all(
            Array.from({ length: 8 }, async () => await test.append(event, expectedVersion)),
          );
          expect(new Set(stored.map(([one]) => one?.position)).size).toBe(1);
          expect(await rowsIn(id)).toMatchObject({ outbox: 2 });
        }
      });
    });

    describe('an event that does not fit', () => {
      it('takes the others of its append with it', async () => {
        const id = newThing();
        const wrong = { ...counted(id, 1), payload: { n: 'one' } };
        await expect(test.append([made(id), counted(id, 1), wrong])).rejects.toThrow(
          /thing\.counted does not fit its schema: payload\.n: /,
        );
        expect(await rowsIn(id)).toEqual(nothing);
      });

      it('takes them with it also where only the database finds out', async () => {
        const id = newThing();
        await expect(test.append([made(id), { ...made(id), eventId: 'no uuid' }])).rejects.toThrow(/uuid/);
        const twice = counted(id, 1);
        await expect(test.append([twice, twice])).rejects.toThrow(/duplicate key/);
        expect(await rowsIn(id)).toEqual(nothing);
      });

      it('because its type is not in the catalogue is refused by name', async () => {
        const unknown = { ...made(newThing()), eventType: 'thing.lost' };
        await expect(test.append(unknown)).rejects.toThrow('event type thing.lost is not in the catalogue');
        await expect(test.append({ ...unknown, eventType: 'toString' })).rejects.toThrow(InvalidEventError);
      });

      const nul = 'a\u0000b';
      it.each([
        ['a NUL', nul],
        ['half a surrogate pair', 'a\ud83d'],
        ['the other half', '\ude00b'],
      ])('because it holds %s is refused with a clear word, wherever the text stands', async (_, text) => {
        const clear = /thing\.made holds text with a NUL or half a surrogate pair/;
        const event = made(newThing());
        const { aggregateId } = event;
        await expect(test.append({ ...event, payload: { name: text } })).rejects.toThrow(clear);
        await expect(test.append({ ...event, metadata: { tenantId: 'default', userId: text } })).rejects.toThrow(clear);
        await expect(test.append({ ...event, aggregateId: text })).rejects.toThrow(clear);
        await expect(test.append(noted(aggregateId, { a: [{ [text]: 1 }] }))).rejects.toThrow('thing.noted holds text');
        expect(await rowsIn(aggregateId)).toEqual(nothing);
      });

      it('because it is larger than 1 MB is refused with the limit, and one of 1 MB is stored', async () => {
        const id = newThing();
        const ofBytes = (bytes: number): DomainEvent =>
          made(id, 'ü'.repeat((bytes - '{"name":""}'.length - 1) / 2) + 'x');
        const most = 1_048_576;
        await expect(test.append([hidden(id), ofBytes(most + 2)])).rejects.toThrow(
          'thing.made has a payload of 1048578 bytes; the limit is 1048576 (1 MB)',
        );
        expect(await rowsIn(id)).toEqual(nothing);
        const [stored] = await test.append(ofBytes(most));
        expect(await log.store.getEvents(id)).toEqual([stored]);
      });
    });

    describe('a payload', () => {
      it.each<[string, Readonly<Record<string, unknown>>]>([
        [
          'an array',
          {
            list: [],
            lists: [
              [1, [2, [3]]],
              ['a', null, true],
            ],
          },
        ],
        ['nothing', {}],
        ['null', { none: null, some: [null, { none: null }] }],
        ['text that looks like something else', { text: '', number: '7', json: '{"a":1}', no: 'null', array: '{1,2}' }],
        ['text with every kind of sign', { text: 'quote " \\\\ \n\t \u2028 ü 😀 👩‍👩‍👧 \u0001 \u007f' }],
        ['a time as text, deep inside', { a: { b: [{ at: '2026-11-23T12:00:00.123456Z' }] } }],
        ['a number past 2^53 as text', { n: '9007199254740993', xid: '18446744073709551615' }],
        ['numbers', { n: [0, -1, 1.5, 1e-7, 1e21, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 5e-324] }],
        ['names of all kinds', { '': 1, 'a.b': 2, $x: 3, 'ü😀': 4, constructor: 5 }],
      ])('with %s comes back as it was, in the stream, in the log, and in its deliveries', async (_, value) => {
        const event = noted(newThing(), value);
        const [stored] = await test.append(event);
        expect(stored?.payload).toEqual(value);
        const { aggregateId } = event;
        expect((await log.store.getEvents(aggregateId)).map(({ payload }) => payload)).toEqual([value]);
        const { events } = await eventuallyRead(aggregateId);
        expect(events.map(({ payload }) => payload)).toEqual([value]);
        const outbox = await log.db
          .selectFrom('outbox')
          .select('payload')
          .where('aggregate_id', '=', aggregateId)
          .execute();
        expect(outbox).toEqual([{ payload: value }]);
        const { rows } = await sql<{ kind: string }>`
          select jsonb_typeof(payload) as kind from events where aggregate_id = ${aggregateId}`.execute(log.db);
        expect(rows).toEqual([{ kind: 'object' }]);
      });
    });
  });
}
