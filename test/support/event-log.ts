// An event store on a database of its own, with a catalogue of things instead of orders: store, outbox and bus know none.
import { randomUUID } from 'node:crypto';
import pino from 'pino';
import { z } from 'zod';
import type { DomainEvent, EventCatalogue, StoredEvent } from '../../src/domain/event.ts';
import { newId } from '../../src/domain/ids.ts';
import type { Routes } from '../../src/event-store/append.ts';
import { createEventCodec, type EventCodec } from '../../src/event-store/event-codec.ts';
import { PgEventStore } from '../../src/event-store/event-store.ts';
import { createUnitOfWork, type RunUnitOfWork } from '../../src/event-store/unit-of-work.ts';
import { connectDatabase, type Db } from '../../src/platform/database.ts';
import type { Logger } from '../../src/platform/logger.ts';
import { createTestDatabase } from './database.ts';

export const things = {
  'thing.made': { version: 1, schema: z.object({ name: z.string() }) },
  'thing.counted': { version: 2, schema: z.object({ n: z.int() }) },
  'thing.hidden': { version: 1, schema: z.object({}) },
  // Whatever JSON can say.
  'thing.noted': { version: 1, schema: z.record(z.string(), z.json()) },
} as const satisfies EventCatalogue;

/** Two destinations, one, and none. */
export const thingRoutes: Routes = {
  'thing.made': ['left', 'right'],
  'thing.counted': ['left'],
  'thing.noted': ['left'],
};

export type EventLog = Readonly<{
  url: string;
  db: Db;
  codec: EventCodec;
  store: PgEventStore;
  unitOfWork: RunUnitOfWork;
  /** How often a commit with events was reported. */
  commits(): number;
  stop(): Promise<void>;
}>;

export type EventLogOptions = Readonly<{
  poolSize?: number;
  /** Of the database, before anything connects. */
  prepare?: (url: string) => Promise<void>;
}>;

export async function startEventLog(options: EventLogOptions = {}): Promise<EventLog> {
  const database = await createTestDatabase();
  await options.prepare?.(database.url);
  const log = openEventLog(database.url, options);
  return {
    ...log,
    async stop() {
      await log.stop();
      await database.drop();
    },
  };
}

/** On a database that is there, and stays. */
export function openEventLog(url: string, options: Pick<EventLogOptions, 'poolSize'> = {}): EventLog {
  const db = connectDatabase({
    url,
    poolSize: options.poolSize ?? 20,
    applicationName: 'test',
    onIdleError: () => undefined,
  });
  const codec = createEventCodec(things);
  let commits = 0;
  const onCommitted = (): void => {
    commits += 1;
  };
  const store = new PgEventStore({ db, codec, routes: thingRoutes, onCommitted });
  return {
    url,
    db,
    codec,
    store,
    unitOfWork: createUnitOfWork({ db, store, onCommitted }),
    commits: () => commits,
    stop: async () => await db.destroy(),
  };
}

const metadata = { tenantId: 'default', correlationId: 'test' };
export const newThing = (): string => `thing-${randomUUID()}`;

function thing(aggregateId: string, eventType: keyof typeof things, payload: unknown): DomainEvent {
  return {
    eventId: newId(),
    eventType,
    occurredAt: new Date('2026-11-23T12:00:00.123Z'),
    aggregateId,
    aggregateType: 'thing',
    payload,
    metadata,
  };
}
export const made = (aggregateId: string, name = 'lamp'): DomainEvent => thing(aggregateId, 'thing.made', { name });
export const counted = (aggregateId: string, n: number): DomainEvent => thing(aggregateId, 'thing.counted', { n });
export const noted = (aggregateId: string, payload: Readonly<Record<string, unknown>>): DomainEvent =>
  thing(aggregateId, 'thing.noted', payload);
export const hidden = (aggregateId: string): DomainEvent => thing(aggregateId, 'thing.hidden', {});

const poison = 'kills its process';
/** A thing whose handler takes its process with it. */
export const deadly = (aggregateId: string): DomainEvent => made(aggregateId, poison);
export const killsItsProcess = ({ payload }: DomainEvent): boolean => (payload as { name?: string }).name === poison;

/** As it comes out of the store, for what takes stored events and needs no store. */
export const storedAt = (event: DomainEvent, version: number): StoredEvent => ({
  ...event,
  metadata,
  version,
  position: String(version),
  schemaVersion: things[event.eventType as keyof typeof things].version,
});

/** As pino counts. */
const warnLevel = 40;

export type LogBook = Readonly<{
  logger: Logger;
  lines: readonly string[];
  warnings: readonly string[];
  /** All of each line, as it would be in the file. */
  raw: readonly string[];
}>;

/** Keeps what was logged, as "message: error"; `warnings` is what of it a person should see. */
export function createLogBook(): LogBook {
  const lines: string[] = [];
  const warnings: string[] = [];
  const raw: string[] = [];
  const logger = pino(
    { level: 'debug' },
    {
      write(line: string) {
        const { level, msg, err } = JSON.parse(line) as { level: number; msg: string; err?: { message: string } };
        const text = err === undefined ? msg : `${msg}: ${err.message}`;
        lines.push(text);
        raw.push(line);
        if (level >= warnLevel) warnings.push(text);
      },
    },
  );
  return { logger, lines, warnings, raw };
}
