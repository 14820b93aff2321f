// What was stored once is read for ever: a row of every version of every event type. Fixtures are added, never changed.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { catalogue, type EventType } from '../../../src/domain/catalogue.ts';
import { createEventCodec } from '../../../src/event-store/event-codec.ts';

const folder = new URL('../../fixtures/events/', import.meta.url);
const files = readdirSync(folder).filter((file) => file.endsWith('.json'));
const codec = createEventCodec(catalogue);

const storedEvent = z.strictObject({
  id: z.uuid(),
  event_type: z.string(),
  aggregate_id: z.string(),
  aggregate_type: z.string(),
  version: z.int(),
  schema_version: z.int(),
  occurred_at: z.iso.datetime().transform((text) => new Date(text)),
  payload: z.unknown(),
  metadata: z.unknown(),
  /** Where it is not the payload as it was stored. */
  today: z.unknown().optional(),
});

describe('the stored events', () => {
  it('are there for each version of each type of today', () => {
    const wanted = (Object.keys(catalogue) as EventType[]).flatMap((type) =>
      Array.from({ length: catalogue[type].version }, (_, n) => `${type}.v${n + 1}.json`),
    );
    expect(files).toEqual(expect.arrayContaining(wanted));
  });

  it.each(files)('%s is read in today’s shape', (file) => {
    const { today, ...row } = storedEvent.parse(JSON.parse(readFileSync(new URL(file, folder), 'utf8')));
    expect(file).toBe(`${row.event_type}.v${row.schema_version}.json`);
    const event = codec.decode({ ...row, position: '1' });
    expect(event.payload).toEqual(today ?? row.payload);
    expect(event).toMatchObject({ eventId: row.id, eventType: row.event_type, metadata: row.metadata, version: 1 });
  });
});
