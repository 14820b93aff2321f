// The tables beside the model: after every command, and at rest.
import { sql } from 'kysely';
import { expect } from 'vitest';
import { holdDestination, retryDeadLetters } from '../../../src/outbox/outbox-admin.ts';
import { eventually } from '../../support/saga-service.ts';
import type { System } from './interleavings-system.ts';
import { policies } from './interleavings-world.ts';

/** Events are the committed ones, and their deliveries there with them; what is done has arrived. */
export async function expectTables(system: System): Promise<void> {
  const { model, relays, world } = system;
  if (relays.violations.length > 0) throw relays.violations[0];
  const { rows: events } = await sql<{ id: string; stream: string; version: number }>`
    select id, aggregate_id as stream, version from events
    where aggregate_id = any(${model.streams}::text[]) order by aggregate_id, version`.execute(world.log.db);
  const stored = [...model.committed]
    .flatMap(([stream, all]) => all.map((event, index) => ({ id: event.eventId, stream, version: index + 1 })))
    .toSorted((one, other) =>
      one.stream === other.stream ? one.version - other.version : one.stream < other.stream ? -1 : 1,
    );
  expect(events, 'the stored events').toEqual(stored);

  const rows = await readDeliveries(system);
  const wanted = model.deliveries().filter((key) => !model.cleaned.has(key));
  expect([...rows.keys()].toSorted(), 'the deliveries').toEqual(wanted.toSorted());
  for (const [key, state] of rows) {
    if (state === 'done') expect(model.arrived.has(key), `${key} is done and has never arrived`).toBe(true);
    if (state !== 'dead') continue;
    expect(model.condemned.has(key), `${key} is a dead letter for nothing`).toBe(true);
    model.buried.add(key);
  }
}

export async function deliveriesIn(system: System, state: 'done' | 'dead'): Promise<readonly string[]> {
  return [...(await readDeliveries(system))].filter(([, each]) => each === state).map(([key]) => key);
}

async function readDeliveries({ world }: System): Promise<ReadonlyMap<string, string>> {
  const { rows } = await sql<{ key: string; state: string }>`
    select id || ' ' || destination as key, state from outbox`.execute(world.log.db);
  return new Map(rows.map(({ key, state }) => [key, state]));
}

/**
 * Everybody comes to the end, with destinations that take everything: then every delivery is done, dead, or waits behind
 * a dead one; sent again, all are done. Each has arrived, each handler's effect is there once, each reader has seen all.
 */
export async function expectRest(system: System): Promise<void> {
  const { model, world, relays } = system;
  for (const writer of system.writers.keys()) await system.endWriter(writer, 'commit');
  for (const slot of relays.slots) if (slot.gates.length > 0) await relays.publish(slot, ['ok'], true);
  await system.settle();
  expect([...system.underWay.keys()], 'who still waits when all transactions have ended').toEqual([]);
  for (const destination of Object.keys(policies)) await holdDestination(world.log.db, destination, false);
  await expectTables(system);
  await drain(system);

  const rows = await readDeliveries(system);
  const dead = new Set(await deliveriesIn(system, 'dead'));
  const isBlocked = (key: string): boolean =>
    policies[key.split(' ')[1] ?? ''] === 'block' && model.standsBehind(key, dead);
  const stuck = [...rows].filter(([key, state]) => state === 'pending' && !isBlocked(key));
  expect(stuck, 'pending, and nothing is due').toEqual([]);
  for (const destination of Object.keys(policies)) {
    await retryDeadLetters(world.log.db, { tenantId: 'default', destination });
  }
  await drain(system);
  expect([...(await readDeliveries(system))].filter(([, state]) => state !== 'done')).toEqual([]);
  expect([...model.arrived].toSorted(), 'what has arrived').toEqual(model.deliveries().toSorted());
  await expectEffectsOnce(system);
  await expectReadersSawAll(system);
}

async function drain(system: System): Promise<void> {
  for (let taken = 1; taken > 0;) {
    taken = 0;
    await system.timePasses('1 hour');
    for (const slot of system.relays.slots) {
      slot.drains = true;
      taken += await slot.relay.relay.processOutbox();
      await expectTables(system);
    }
  }
}

async function expectEffectsOnce({ model, world }: System): Promise<void> {
  const { rows } = await sql<{ effect: string }>`
    select events.id || ' ' || handler as effect from effects
    join events using (aggregate_id, version) order by 1`.execute(world.log.db);
  expect(
    rows.map(({ effect }) => effect),
    'the handlers’ effects',
  ).toEqual(model.deliveries().toSorted());
}

/** Other databases of the cluster may hold them up for a moment. */
async function expectReadersSawAll({ world, readers, read }: System): Promise<void> {
  for (const reader of readers) {
    await eventually(async () => {
      await read(reader, 100);
      return reader.model.hasSeenAll() ? true : undefined;
    });
    world.logEnd = reader.after;
  }
}
