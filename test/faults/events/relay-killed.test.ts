// Relays and writers of plain events, really killed: whatever dies when, stored times routes is done plus dead, each
// handler's effect is there once, and other aggregates flow.
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { effectsOf, tableOfEffects } from '../../support/effects.ts';
import { expectDeliveriesToBalance, letLeasesRunOut } from '../../support/delivery-books.ts';
import { counted, deadly, made, newThing, startEventLog, thingRoutes, type EventLog } from '../../support/event-log.ts';
import type { HoldPoint } from '../../support/hold-points.ts';
import { createHolds, type Holds } from '../../support/holds.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually } from '../../support/saga-service.ts';
import { runScript } from '../../support/script-process.ts';

const graceSeconds = 3;
let log: EventLog;
let roles: RoleProcesses;
let holds: Holds;

beforeEach(async () => {
  log = await startEventLog();
  await tableOfEffects.execute(log.db);
  holds = createHolds();
  roles = createRoleProcesses({
    DATABASE_URL: log.url,
    SHUTDOWN_GRACE_SECONDS: String(graceSeconds),
    ...holds.environment,
  });
});
afterEach(async () => {
  await roles.stop();
  await log.stop();
  holds.remove();
});

const startRelay = async (): Promise<RoleProcess> => await roles.startProgram('run-thing-relay.ts');

type Row = Readonly<{ version: number; state: string; attempts: number; isLeased: boolean; last_error: string | null }>;
async function rowsOf(aggregateId: string, destination = 'left'): Promise<readonly Row[]> {
  const { rows } = await sql<Row>`
    select version, state, attempts, coalesce(locked_until > now(), false) as "isLeased", last_error from outbox
    where aggregate_id = ${aggregateId} and destination = ${destination} order by version`.execute(log.db);
  return rows;
}

/** By handler, in the order in which they were committed. */
async function effects(aggregateId: string): Promise<Readonly<Record<string, readonly number[]>>> {
  const byHandler = Map.groupBy(await effectsOf(log, aggregateId), ({ handler }) => handler);
  return Object.fromEntries([...byHandler].map(([handler, all]) => [handler, all.map(({ version }) => version)]));
}

/** Events that only `left` gets, and a relay that stops at `point` with the first of them in its hands. */
async function heldAt(point: HoldPoint): Promise<Readonly<{ relay: RoleProcess; id: string }>> {
  const id = newThing();
  holds.hold(id, point);
  const relay = await startRelay();
  await log.store.append([counted(id, 1), counted(id, 2)]);
  await holds.reached(id, point);
  return { relay, id };
}

/** What is appended from now on goes its way: a marker that is delivered says that polling has come round. */
async function flows(): Promise<void> {
  const marker = newThing();
  await log.store.append(made(marker));
  await eventually(async () => ((await effectsOf(log, marker)).length === 2 ? true : undefined));
}

describe('a relay killed with -9', () => {
  it.each([
    ['before:publish', 'after the claim and before it published', {}],
    ['after:publish', 'after it published and before the mark', { left: [1] }],
  ] as const)('%s: %s: the event is delivered again, and its effect is there once', async (point, _, before) => {
    const { relay, id } = await heldAt(point);
    await relay.kill();
    expect(await effects(id)).toEqual(before);
    expect((await rowsOf(id))[0]).toMatchObject({ state: 'pending', attempts: 1, isLeased: true });
    await startRelay();
    await flows();
    // Nobody touches it before its lease has run out on the database's clock.
    expect((await rowsOf(id)).map(({ attempts }) => attempts)).toEqual([1, 0]);
    await letLeasesRunOut(log);
    await expectDeliveriesToBalance(log, thingRoutes);
    expect(await effects(id)).toEqual({ left: [1, 2] });
    expect((await rowsOf(id)).map(({ attempts }) => attempts)).toEqual([2, 1]);
  });
});

describe('a writer killed with -9 between its commit and the word of it', () => {
  it('has its events found by polling', async () => {
    await startRelay();
    await flows();
    const id = newThing();
    const writer = runScript('run-thing-writer.ts', {
      environment: { PATH: process.env['PATH'], DATABASE_URL: log.url, THING_ID: id },
    });
    expect(await writer.ended).toMatchObject({ signal: 'SIGKILL' });
    await expect(writer.serving).rejects.toThrow();
    expect(await log.store.getEvents(id)).toHaveLength(1);
    await expectDeliveriesToBalance(log, thingRoutes);
    expect(await effects(id)).toEqual({ left: [1], right: [1] });
  });
});

describe('an event whose handler takes its process with it', () => {
  it('is a dead letter after its attempts, and those that were under way beside it each have their effect', async () => {
    const [poisoned, ...beside] = Array.from({ length: 8 }, newThing);
    // Those in hand with it at the first crash; they are due again with it, each time its lease runs out.
    await log.store.append([{ ...deadly(poisoned ?? ''), eventType: 'thing.made' }, counted(poisoned ?? '', 2)]);
    for (const id of beside) await log.store.append([counted(id, 1), counted(id, 2)]);
    await sql`delete from outbox where destination = 'right'`.execute(log.db);
    for (let crash = 1; crash <= 3; crash += 1) {
      expect(await (await startRelay()).ended).toMatchObject({ code: 7 });
      expect((await rowsOf(poisoned ?? ''))[0]).toMatchObject({ state: 'pending', attempts: crash });
      await letLeasesRunOut(log);
    }
    await startRelay();
    await expectDeliveriesToBalance(log, { ...thingRoutes, 'thing.made': ['left'] }, 1);
    expect(await rowsOf(poisoned ?? '')).toMatchObject([
      { state: 'dead', attempts: 4, last_error: 'no attempt of 3 came to an end' },
      { state: 'done', attempts: 1 },
    ]);
    expect(await effects(poisoned ?? '')).toEqual({ left: [2] });
    for (const id of beside) expect(await effects(id)).toEqual({ left: [1, 2] });
    for (const id of beside) expect((await rowsOf(id))[0]?.attempts).toBeLessThanOrEqual(2);
  });
});

describe('SIGTERM to a relay with a delivery in its hands', () => {
  it('claims nothing more, waits for the delivery, records it, and ends in order', async () => {
    const { relay, id } = await heldAt('before:publish');
    const ending = relay.terminate();
    await eventually(async () => await Promise.resolve(relay.log().includes('"msg":"stopping"') ? true : undefined));
    const later = newThing();
    await log.store.append(counted(later, 1));
    holds.release(id, 'before:publish');
    expect(await ending).toMatchObject({ code: 0, signal: null });
    expect(await rowsOf(id)).toMatchObject([
      { state: 'done', attempts: 1 },
      { state: 'pending', attempts: 0, isLeased: false },
    ]);
    expect(await rowsOf(later)).toMatchObject([{ state: 'pending', attempts: 0, isLeased: false }]);
    await startRelay();
    await expectDeliveriesToBalance(log, thingRoutes);
    expect([await effects(id), await effects(later)]).toEqual([{ left: [1, 2] }, { left: [1] }]);
  });

  it('that does not end within the grace time ends without it, and its lease hands it over', async () => {
    const { relay, id } = await heldAt('before:publish');
    const { code, milliseconds } = await relay.terminate();
    expect(code).toBe(1);
    expect(milliseconds).toBeGreaterThanOrEqual(graceSeconds * 1000 - 50);
    expect((await rowsOf(id))[0]).toMatchObject({ state: 'pending', attempts: 1, isLeased: true });
    await letLeasesRunOut(log);
    await startRelay();
    await expectDeliveriesToBalance(log, thingRoutes);
    expect(await effects(id)).toEqual({ left: [1, 2] });
  });

  it('ends at once at the second one', async () => {
    const { relay, id } = await heldAt('after:publish');
    process.kill(relay.pid, 'SIGTERM');
    await eventually(async () => await Promise.resolve(relay.log().includes('"msg":"stopping"') ? true : undefined));
    // Two within a second count as one: a Ctrl-C under npm comes twice.
    await delay(1_100);
    expect(await relay.terminate()).toMatchObject({ code: 143, signal: null });
    expect(relay.log()).not.toContain('not stopped within the grace time');
    await letLeasesRunOut(log);
    await startRelay();
    await expectDeliveriesToBalance(log, thingRoutes);
    expect(await effects(id)).toEqual({ left: [1, 2] });
  });
});
