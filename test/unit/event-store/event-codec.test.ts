// Old events in today's code: brought up to date step by step, and what is of another release is said, not guessed.
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { EventCatalogue } from '../../../src/domain/event.ts';
import { upcast } from '../../../src/domain/upcasting.ts';
import { createEventCodec, InvalidEventError, UnknownEventError } from '../../../src/event-store/event-codec.ts';
import { PermanentDeliveryError } from '../../../src/outbox/delivery.ts';
import type { EventRow } from '../../../src/platform/schema.ts';
import { decodeForDelivery } from '../../../src/processes/decode.ts';

const v1 = z.object({ price: z.number() });
const v2 = z.object({ amount: z.int(), currency: z.string() });
const v3 = z.object({ total: z.object({ amount: z.int(), currency: z.string() }), discount: z.int().min(0) });

const catalogue = {
  'thing.sold': {
    version: 3,
    schema: v3,
    upcasters: {
      1: upcast({ from: v1, to: v2, by: ({ price }) => ({ amount: Math.round(price * 100), currency: 'EUR' }) }),
      2: upcast({ from: v2, to: v3, by: (total) => ({ total, discount: 0 }) }),
    },
  },
  // Its version 1 was never stored anywhere.
  'thing.begun': { version: 2, schema: z.object({}) },
  'thing.broken': {
    version: 2,
    schema: z.object({ n: z.int() }),
    upcasters: { 1: () => ({ n: 'one' }) },
  },
} as const satisfies EventCatalogue;
const codec = createEventCodec(catalogue);

const rowOf = (eventType: string, schemaVersion: number, payload: unknown): EventRow => ({
  id: '0198f0c2-7a11-7000-8000-000000000001',
  event_type: eventType,
  aggregate_id: 'thing-1',
  aggregate_type: 'thing',
  version: 7,
  payload,
  metadata: { tenantId: 'default' },
  schema_version: schemaVersion,
  occurred_at: new Date('2026-11-23T12:00:00.123Z'),
  position: '42',
});

/** As they were stored by each release. */
const stored = [
  [1, { price: 19.99 }],
  [2, { amount: 1999, currency: 'EUR' }],
  [3, { total: { amount: 1999, currency: 'EUR' }, discount: 0 }],
] as const;

describe('an event', () => {
  it.each(stored)('that was stored as version %i is read in today’s shape, and says so', (version, payload) => {
    const before = structuredClone(payload);
    const event = codec.decode(rowOf('thing.sold', version, payload));
    expect(event.payload).toEqual({ total: { amount: 1999, currency: 'EUR' }, discount: 0 });
    expect(event).toMatchObject({ schemaVersion: 3, version: 7, position: '42' });
    expect(payload).toEqual(before);
  });

  it('that was read and is passed on as a row is not brought up to date twice', () => {
    const { payload, schemaVersion } = codec.decode(rowOf('thing.sold', 1, { price: 19.99 }));
    expect(codec.decode(rowOf('thing.sold', schemaVersion, payload)).payload).toEqual(payload);
  });

  it('that is appended has today’s version and no other shape', () => {
    const { aggregate_id: aggregateId, aggregate_type: aggregateType, occurred_at: occurredAt } = rowOf('', 1, {});
    const event = { eventId: 'e-1', eventType: 'thing.sold', occurredAt, aggregateId, aggregateType };
    expect(codec.encode({ ...event, payload: stored[2][1] }).schemaVersion).toBe(3);
    expect(() => codec.encode({ ...event, payload: stored[0][1] })).toThrow(InvalidEventError);
  });
});

describe('an event that this code cannot read', () => {
  it.each([
    ['its type is unknown', rowOf('thing.lost', 1, {}), 'event type thing.lost is not in the catalogue'],
    ['its type is a word of JavaScript', rowOf('toString', 1, {}), 'toString is not in the catalogue'],
    ['it is of a newer release', rowOf('thing.sold', 4, {}), 'thing.sold of version 4 is newer than this code'],
    ['nothing leads from its version', rowOf('thing.begun', 1, {}), 'thing.begun of version 1 has no upcaster'],
  ])('because %s is a typed error, and in live delivery a dead letter at once', (_, row, message) => {
    expect(() => codec.decode(row)).toThrow(UnknownEventError);
    expect(() => codec.decode(row)).toThrow(message);
    expect(() => decodeForDelivery(codec)(row)).toThrow(PermanentDeliveryError);
    expect(() => decodeForDelivery(codec)(row)).toThrow(message);
  });

  it.each([
    ['it does not fit the schema of its own version', rowOf('thing.sold', 1, { price: 'much' }), /become version 2/],
    [
      'it does not fit today’s after the last step',
      rowOf('thing.broken', 1, {}),
      /does not fit its schema: payload\.n/,
    ],
  ])('because %s is an invalid one, and in live delivery a dead letter at once', (_, row, message) => {
    expect(() => codec.decode(row)).toThrow(InvalidEventError);
    expect(() => codec.decode(row)).toThrow(message);
    expect(() => decodeForDelivery(codec)(row)).toThrow(PermanentDeliveryError);
  });

  it('for a reason that is none of these is tried again', () => {
    const decode = decodeForDelivery({
      ...codec,
      decode: () => {
        throw new RangeError('out of memory');
      },
    });
    expect(() => decode(rowOf('thing.sold', 3, {}))).toThrow(RangeError);
  });
});
