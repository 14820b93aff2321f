// What may happen to store, outbox and relays, one thing after another, in any order that fast-check comes up with.
import fc from 'fast-check';
import { expect } from 'vitest';
import { ConflictError } from '../../../src/domain/errors.ts';
import type { DomainEvent, StoredEvent } from '../../../src/domain/event.ts';
import type { ExpectedVersion } from '../../../src/event-store/append.ts';
import type { AggregateAppend } from '../../../src/event-store/event-store.ts';
import { deleteDoneDeliveries, deleteOldInboxRows } from '../../../src/outbox/clean-up.ts';
import { holdDestination, retryDeadLetters } from '../../../src/outbox/outbox-admin.ts';
import { counted, hidden, made } from '../../support/event-log.ts';
import { deliveriesIn, expectTables } from './interleavings-books.ts';
import { judge, type Attempt, type Model, type Verdict, type View } from './interleavings-model.ts';
import type { Ending, Relays, Slot } from './interleavings-relays.ts';
import type { System } from './interleavings-system.ts';
import { policies } from './interleavings-world.ts';

type Command = fc.AsyncCommand<Model, System>;

/** @param may whether it can happen now; otherwise it is left out */
function command(
  name: string,
  may: (model: Model) => boolean,
  run: (model: Model, system: System) => Promise<void>,
): Command {
  return {
    check: (model) => may(model),
    toString: () => name,
    async run(model, system) {
      await system.tick();
      await run(model, system);
      await expectTables(system);
    },
  };
}

type Plan = Readonly<{
  /** Of the three; two of them are one append to several. */
  streams: readonly number[];
  kinds: readonly ('made' | 'counted' | 'hidden')[];
  expected: 'right' | 'ahead' | 'behind' | 'any' | 'none' | 'exists';
  /** `twin`: what an open transaction has just appended, as a client that did not wait for its answer sends it. */
  content: 'fresh' | 'again' | 'half again' | 'twin';
}>;

const plans: fc.Arbitrary<Plan> = fc.record({
  streams: fc.uniqueArray(fc.integer({ min: 0, max: 2 }), { minLength: 1, maxLength: 2 }),
  kinds: fc.array(fc.constantFrom('made', 'made', 'counted', 'hidden'), { minLength: 1, maxLength: 3 }),
  expected: fc.constantFrom('right', 'right', 'right', 'any', 'any', 'ahead', 'behind', 'none', 'exists'),
  content: fc.constantFrom('fresh', 'fresh', 'fresh', 'fresh', 'again', 'half again', 'twin'),
});

const streamsOf = (model: Model, plan: Plan): readonly string[] => plan.streams.map((n) => model.streams[n] ?? '');

function attemptsOf(model: Model, plan: Plan, view: View): readonly Attempt[] {
  return streamsOf(model, plan).map((stream) => ({
    stream,
    events: eventsOf(model, plan, view, stream),
    expected: expectedVersion(plan.expected, view.get(stream)?.length ?? 0),
  }));
}

function eventsOf(model: Model, { kinds, content }: Plan, view: View, stream: string): readonly DomainEvent[] {
  const fresh = kinds.map((kind, n) => {
    if (kind === 'counted') return counted(stream, n);
    return kind === 'made' ? made(stream) : hidden(stream);
  });
  const before = view.get(stream) ?? [];
  const holder = model.open.get(model.locked.get(stream) ?? -1) ?? [];
  const twin = holder.findLast((attempt) => attempt.stream === stream)?.events;
  if (content === 'twin') return twin ?? fresh;
  if (content === 'fresh' || before.length === 0) return fresh;
  return content === 'again' ? before.slice(-kinds.length) : [...before.slice(-1), ...fresh.slice(0, 1)];
}

function expectedVersion(kind: Plan['expected'], version: number): ExpectedVersion {
  if (kind === 'right') return version;
  if (kind === 'ahead') return version + 1;
  return kind === 'behind' ? Math.max(version - 1, 0) : kind;
}

type Append = Readonly<{
  append(events: readonly DomainEvent[], expected: ExpectedVersion): Promise<readonly StoredEvent[]>;
  appendAll(appends: readonly AggregateAppend[]): Promise<readonly (readonly StoredEvent[])[]>;
}>;
type Outcome = readonly (readonly number[])[] | ConflictError;

async function outcomeOf(to: Append, attempts: readonly Attempt[]): Promise<Outcome> {
  const [only, ...more] = attempts;
  try {
    const stored =
      only !== undefined && more.length === 0
        ? [await to.append(only.events, only.expected)]
        : await to.appendAll(attempts.map(({ events, expected }) => ({ events, expectedVersion: expected })));
    return stored.map((events) => events.map((event) => event.version));
  } catch (error) {
    if (error instanceof ConflictError) return error;
    throw error;
  }
}

type Waited = Readonly<{ atStart: Verdict; versionsNow: readonly number[] }>;

/**
 * @param waited of an append that had to wait: a conflict may also be one with what it saw when it began, and names the
 * version that it finds when it looks for the reason
 */
function expectVerdict(outcome: Outcome, verdict: Verdict, waited?: Waited): void {
  if (!(outcome instanceof ConflictError)) {
    expect(outcome).toEqual(verdict.kind === 'conflict' ? verdict : verdict.versions);
    return;
  }
  const actual: (number | undefined)[] = verdict.kind === 'conflict' ? [...verdict.actual] : [];
  if (waited?.atStart.kind === 'conflict') actual.push(...waited.atStart.actual, ...waited.versionsNow);
  expect(actual, 'the conflict names the actual version').toContain(outcome.actualVersion);
}

const begin = (writer: number, early: boolean): Command =>
  command(
    `writer ${writer} begins${early ? ', with an early id' : ''}`,
    (model) => !model.open.has(writer),
    async (_, system) => await system.openWriter(writer, early),
  );

const append = (writer: number, plan: Plan): Command =>
  command(
    `writer ${writer} appends ${JSON.stringify(plan)}`,
    (model) =>
      model.open.has(writer) &&
      streamsOf(model, plan).every(
        (stream) => (model.locked.get(stream) ?? writer) === writer && !model.awaited.has(stream),
      ),
    async (model, system) => {
      const unit = system.writers.get(writer)?.unit;
      if (unit === undefined) return;
      const view = model.view(writer);
      const attempts = attemptsOf(model, plan, view);
      const verdict = judge(view, attempts);
      for (const { stream } of attempts) model.locked.set(stream, writer);
      expectVerdict(await outcomeOf(unit, attempts), verdict);
      if (verdict.kind === 'stored') model.open.set(writer, [...(model.open.get(writer) ?? []), ...attempts]);
    },
  );

const end = (writer: number, how: 'commit' | 'roll back' | 'cut'): Command =>
  command(
    `writer ${writer}: ${how}`,
    (model) => model.open.has(writer),
    async (_, system) => await system.endWriter(writer, how),
  );

/** In a transaction of its own, which may have to wait for a writer's. */
const send = (n: number, plan: Plan): Command =>
  command(
    `sender ${n} appends ${JSON.stringify(plan)}`,
    (model) => !model.busy.has(`sender-${n}`) && streamsOf(model, plan).every((stream) => !model.awaited.has(stream)),
    async (model, system) => {
      const attempts = attemptsOf(model, plan, model.view());
      const atStart = judge(model.view(), attempts);
      for (const { stream } of attempts) model.awaited.add(stream);
      const store = system.storeOf(`sender-${n}`);
      const to: Append = {
        append: async (events, expected) => await store.append(events, { expectedVersion: expected }),
        appendAll: async (appends) => await store.appendAll(appends),
      };
      const work = async (): Promise<void> => {
        const outcome = await outcomeOf(to, attempts);
        for (const { stream } of attempts) model.awaited.delete(stream);
        const view = model.view();
        const verdict = judge(view, attempts);
        const versionsNow = attempts.map(({ stream }) => view.get(stream)?.length ?? 0);
        expectVerdict(outcome, verdict, { atStart, versionsNow });
        if (verdict.kind === 'stored' && !(outcome instanceof ConflictError)) model.commit(attempts);
      };
      await system.proceed(`sender-${n}`, work());
    },
  );

const ofRelay = (
  name: string,
  what: string,
  may: (model: Model) => boolean,
  run: (relays: Relays, slot: Slot) => Promise<void>,
): Command =>
  command(`${name} ${what}`, may, async (_, system) => {
    const slot = system.relays.slots.find((each) => each.name === name);
    if (slot !== undefined) await run(system.relays, slot);
  });
const hasSome = (name: string) => (model: Model) => (model.inHand.get(name) ?? 0) > 0;

const claim = (name: string): Command =>
  ofRelay(
    name,
    'claims',
    (model) => !model.busy.has(name) && !hasSome(name)(model),
    async (relays, slot) => await relays.startRound(slot),
  );
const publish = (name: string, endings: readonly Ending[], all: boolean): Command =>
  ofRelay(
    name,
    `publishes ${all ? 'all' : 'one'}: ${endings.join(', ')}`,
    hasSome(name),
    async (relays, slot) => await relays.publish(slot, endings, all),
  );
const crash = (name: string, published: boolean): Command =>
  ofRelay(
    name,
    `crashes ${published ? 'after' : 'before'} it has published`,
    hasSome(name),
    async (relays, slot) => await relays.crash(slot, published),
  );

const hour = (): Command =>
  command(
    'an hour passes',
    () => true,
    async (_, system) => await system.timePasses('1 hour'),
  );
const retry = (destination: string): Command =>
  command(
    `dead letters of ${destination} are sent again`,
    (model) => !model.busy.has('operator'),
    async (model, system) => {
      const done = await deliveriesIn(system, 'done');
      const dead = (await deliveriesIn(system, 'dead')).filter((key) => key.endsWith(` ${destination}`));
      model.sendAgain(dead, new Set([...done, ...model.cleaned]));
      const retried = retryDeadLetters(system.dbOf('operator'), { tenantId: 'default', destination });
      await system.proceed(
        'operator',
        retried.then(() => undefined),
      );
    },
  );
const hold = (destination: string, paused: boolean): Command =>
  command(
    `${destination} is ${paused ? 'held' : 'let go'}`,
    () => true,
    async (_, system) => await holdDestination(system.world.log.db, destination, paused),
  );
/** Weeks later, when no delivery is in hand any more. */
const cleanUp = (): Command =>
  command(
    'the clean-up runs',
    (model) => model.busy.size === 0 && [...model.inHand.values()].every((count) => count === 0),
    async (model, system) => {
      const { db } = system.world.log;
      await system.timePasses('20 days');
      const dead = new Set(await deliveriesIn(system, 'dead'));
      // What has overtaken a dead letter stays as long as that one does.
      const over = (await deliveriesIn(system, 'done')).filter((key) => !model.standsBehind(key, dead));
      expect(await deleteDoneDeliveries(db)).toBe(over.length);
      for (const key of over) model.cleaned.add(key);
      await deleteOldInboxRows(db);
    },
  );
const read = (n: number, limit: number): Command =>
  command(
    `reader ${n} reads ${limit}`,
    () => true,
    async (_, system) => {
      const reader = system.readers[n];
      if (reader !== undefined) await system.read(reader, limit);
    },
  );

const writer = fc.integer({ min: 0, max: 2 });
const destination = fc.constantFrom(...Object.keys(policies));
const relay = fc.constantFrom(...Object.keys(policies).flatMap((name) => [`relay-${name}-0`, `relay-${name}-1`]));
const ending = fc.constantFrom<Ending>(
  'ok',
  'ok',
  'ok',
  'answer lost',
  'fails',
  'fails',
  'never',
  'never',
  'away',
  'early',
);

const often = <T>(times: number, what: T): readonly T[] => Array.from({ length: times }, () => what);

/** How often each is drawn; what cannot happen in its place is left out. */
export const commands: readonly fc.Arbitrary<Command>[] = [
  ...often(
    2,
    fc.tuple(writer, fc.boolean()).map((given) => begin(...given)),
  ),
  ...often(
    3,
    fc.tuple(writer, plans).map((given) => append(...given)),
  ),
  ...often(
    2,
    fc.tuple(writer, fc.constantFrom('commit', 'commit', 'roll back', 'cut')).map((given) => end(...given)),
  ),
  ...often(
    4,
    fc.tuple(fc.integer({ min: 0, max: 1 }), plans).map((given) => send(...given)),
  ),
  ...often(5, relay.map(claim)),
  ...often(
    5,
    fc.tuple(relay, fc.array(ending, { minLength: 1, maxLength: 2 }), fc.boolean()).map((given) => publish(...given)),
  ),
  fc.tuple(relay, fc.boolean()).map((given) => crash(...given)),
  ...often(2, fc.constant(null).map(hour)),
  destination.map(retry),
  fc.tuple(destination, fc.boolean()).map((given) => hold(...given)),
  fc.constant(null).map(cleanUp),
  ...often(
    2,
    fc.tuple(fc.integer({ min: 0, max: 1 }), fc.integer({ min: 1, max: 4 })).map((given) => read(...given)),
  ),
];
