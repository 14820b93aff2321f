// What must hold of store, outbox and relays, kept in memory beside them. It knows nothing of SQL.
import { expect } from 'vitest';
import type { DomainEvent } from '../../../src/domain/event.ts';
import type { ExpectedVersion, Routes } from '../../../src/event-store/append.ts';
import type { Delivery } from '../../../src/outbox/delivery.ts';

export type Attempt = Readonly<{ stream: string; events: readonly DomainEvent[]; expected: ExpectedVersion }>;

/** Of an append to one stream or several: the versions of each one's events, or the actual versions to be named. */
export type Verdict =
  | Readonly<{ kind: 'stored' | 'repeated'; versions: readonly (readonly number[])[] }>
  | Readonly<{ kind: 'conflict'; actual: readonly (number | undefined)[] }>;

/** Streams as one transaction sees them. */
export type View = ReadonlyMap<string, readonly DomainEvent[]>;

/** @returns what the append does to these streams */
export function judge(view: View, attempts: readonly Attempt[]): Verdict {
  const versionOf = (stream: string): number => view.get(stream)?.length ?? 0;
  const placeOf = (stream: string, id: string): number =>
    (view.get(stream) ?? []).findIndex((event) => event.eventId === id) + 1;
  const stored = new Set([...view.values()].flat().map((event) => event.eventId));
  const given = attempts.flatMap(({ events }) => events);
  const repeated = given.filter((event) => stored.has(event.eventId)).length;
  if (repeated > 0) {
    const versions = attempts.map(({ stream, events }) => events.map((event) => placeOf(stream, event.eventId)));
    return repeated === given.length && versions.flat().every((version) => version > 0)
      ? { kind: 'repeated', versions }
      : { kind: 'conflict', actual: [undefined] };
  }
  const late = attempts.filter(({ stream, expected }) => !meets(versionOf(stream), expected));
  if (late.length > 0) return { kind: 'conflict', actual: late.map(({ stream }) => versionOf(stream)) };
  const versions = attempts.map(({ stream, events }) => events.map((_, index) => versionOf(stream) + index + 1));
  return { kind: 'stored', versions };
}

function meets(version: number, expected: ExpectedVersion): boolean {
  if (expected === 'any') return true;
  return expected === 'exists' ? version > 0 : version === (expected === 'none' ? 0 : expected);
}

export type Policies = Readonly<Record<string, 'block' | 'continue'>>;
type Lease = Readonly<{ relay: string; hour: number }>;

export type Model = ReturnType<typeof createModel>;
export type ModelOptions = Readonly<{
  streams: readonly string[];
  routes: Routes;
  policies: Policies;
  mostAttempts: number;
}>;

export function createModel({ streams, routes, policies, mostAttempts }: ModelOptions) {
  /** By version, from 1. */
  const committed = new Map<string, readonly DomainEvent[]>();
  /** What each open transaction has appended. */
  const open = new Map<number, readonly Attempt[]>();
  const arrived = new Set<string>();
  const buried = new Set<string>();
  const leases = new Map<string, Lease>();
  const condemned = new Set<string>();
  const overtaken = new Set<string>();
  /** Leases of an hour before this one have run out. */
  let hour = 0;

  const destinationsOf = (event: DomainEvent): readonly string[] => routes[event.eventType] ?? [];

  function laneOf(key: string): Readonly<{ before: readonly string[]; after: readonly string[] }> {
    const [eventId = '', destination = ''] = key.split(' ');
    const stream = [...committed.values()].find((events) => events.some((event) => event.eventId === eventId)) ?? [];
    const keys = stream.map((event) => keyOf(event.eventId, destination));
    const place = keys.indexOf(key);
    return { before: keys.slice(0, place), after: keys.slice(place + 1) };
  }

  function expectEarlierOnes(destination: string, earlier: readonly DomainEvent[], at: string): void {
    const missing = earlier
      .filter((event) => destinationsOf(event).includes(destination))
      .map((event) => keyOf(event.eventId, destination))
      .filter((key) => !arrived.has(key))
      .filter((key) => policies[destination] === 'block' || !buried.has(key));
    expect(missing, `${at} before what comes before it`).toEqual([]);
  }

  return {
    streams,
    policies,
    committed,
    open,
    /** Streams that an open transaction has locked, and those that a writer waits for. */
    locked: new Map<string, number>(),
    awaited: new Set<string>(),
    /** Deliveries that have arrived at least once, were dead letters at some time, or may become one now. */
    arrived,
    buried,
    condemned,
    /** Done, and deleted by the clean-up since. */
    cleaned: new Set<string>(),
    /** Who waits for a lock, and the deliveries that each relay has in hand. */
    busy: new Set<string>(),
    inHand: new Map<string, number>(),

    /** The committed streams, and on top of them what a writer's open transaction has appended. */
    view(writer?: number): View {
      const view = new Map(committed);
      for (const { stream, events } of writer === undefined ? [] : (open.get(writer) ?? [])) {
        view.set(stream, [...(view.get(stream) ?? []), ...events]);
      }
      return view;
    },

    commit(attempts: readonly Attempt[]): void {
      for (const { stream, events } of attempts) {
        committed.set(stream, [...(committed.get(stream) ?? []), ...events]);
      }
    },

    /** Of committed events, by `keyOf`. */
    deliveries: (): readonly string[] =>
      [...committed.values()]
        .flat()
        .flatMap((event) => destinationsOf(event).map((destination) => keyOf(event.eventId, destination))),

    /** All leases end, and every back-off. */
    hourPasses(): void {
      hour += 1;
    },

    /** A relay begins a delivery. */
    handOver(destination: string, relay: string, { event, attempts, redelivered }: Delivery): void {
      const key = keyOf(event.eventId, destination);
      const at = `${destination} got ${event.aggregateId}/${event.version} from ${relay}`;
      const stream = committed.get(event.aggregateId) ?? [];
      expect(stream[event.version - 1]?.eventId, `${at}, which is not committed`).toBe(event.eventId);
      const lease = leases.get(key);
      const holder = lease?.hour === hour ? lease.relay : undefined;
      expect(holder, `${at}, which another relay has in hand`).toBeUndefined();
      leases.set(key, { relay, hour });
      if (redelivered) expect(buried.has(key), `${at} as redelivered, and it never was a dead letter`).toBe(true);
      else expectEarlierOnes(destination, stream.slice(0, event.version - 1), at);
      if (overtaken.has(key)) expect(redelivered, `${at}, which later ones have overtaken, unmarked`).toBe(true);
      // Should the process die now, the next look at it makes it a dead letter.
      if (attempts >= mostAttempts) condemned.add(key);
    },

    /** The relay knows how it ended; from here on it only records that. */
    handBack(destination: string, relay: string, eventId: string): void {
      const key = keyOf(eventId, destination);
      if (leases.get(key)?.relay === relay) leases.delete(key);
    },

    /** One of these deliveries is of the same aggregate, to the same destination, and earlier. */
    standsBehind: (key: string, others: ReadonlySet<string>): boolean =>
      laneOf(key).before.some((one) => others.has(one)),

    /** Dead letters are sent again; those that later ones have overtaken are to come marked. */
    sendAgain(dead: readonly string[], done: ReadonlySet<string>): void {
      for (const key of dead) if (laneOf(key).after.some((one) => done.has(one))) overtaken.add(key);
    },
  };
}

export const keyOf = (eventId: string, destination: string): string => `${eventId} ${destination}`;

export type ReaderModel = ReturnType<typeof createReaderModel>;
type SeenEvent = Readonly<{ eventId: string; aggregateId: string; version: number }>;

/** A reader of the log sees every committed event once, and each stream in order. */
export function createReaderModel({ committed }: Pick<Model, 'committed'>) {
  const seen = new Map<string, number>();
  return {
    see({ eventId, aggregateId, version }: SeenEvent): void {
      const at = `a reader saw ${aggregateId}/${version}`;
      expect(committed.get(aggregateId)?.[version - 1]?.eventId, `${at}, which is not committed`).toBe(eventId);
      const next = (seen.get(aggregateId) ?? 0) + 1;
      expect(version, `${at} where version ${next} came next`).toBe(next);
      seen.set(aggregateId, next);
    },
    hasSeenAll: (): boolean => [...committed].every(([stream, events]) => (seen.get(stream) ?? 0) === events.length),
  };
}
