// The relays of the interleavings: real ones, whose deliveries stay in hand until a command ends them or the relay.
import { expect } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { PermanentDeliveryError, type Delivery, type DeliveryOutcome } from '../../../src/outbox/delivery.ts';
import type { Db } from '../../../src/platform/database.ts';
import { createTestRelay, type TestRelay } from '../../support/relays.ts';
import { keyOf, type Model } from './interleavings-model.ts';
import { connectAs, mostAttempts, policies, type World } from './interleavings-world.ts';

/** How a delivery ends: `answer lost` has its effect all the same. */
export type Ending = 'ok' | 'answer lost' | 'fails' | 'never' | 'away' | 'early';

type Gate = Readonly<{
  delivery: Delivery;
  resolve: (outcome: DeliveryOutcome | void) => void;
  reject: (error: Error) => void;
}>;

export type Slot = {
  readonly name: string;
  readonly destination: string;
  db: Db;
  relay: TestRelay;
  /** Deliveries in hand. */
  gates: Gate[];
  handedOver: () => void;
  round: Promise<number> | undefined;
  /** Delivers at once: everything is to come to its end. */
  drains: boolean;
};

export type Relays = ReturnType<typeof startRelays>;
export type RelaysDeps = Readonly<{
  world: World;
  model: Model;
  /** Runs work that may have to wait for a lock. */
  proceed: (name: string, work: Promise<void>) => Promise<void>;
}>;

export function startRelays(deps: RelaysDeps) {
  const { world, model } = deps;
  const { log, failing, buses } = world;
  /** Found where an exception would be taken for a failed delivery. */
  const violations: unknown[] = [];

  async function arrive(destination: string, { event }: Delivery): Promise<void> {
    await buses.get(destination)?.deliver(event);
    model.arrived.add(keyOf(event.eventId, destination));
  }

  async function deliver(slot: Slot, delivery: Delivery): Promise<DeliveryOutcome | void> {
    try {
      model.handOver(slot.destination, slot.name, delivery);
    } catch (error) {
      violations.push(error);
    }
    if (slot.drains) {
      await arrive(slot.destination, delivery);
      model.handBack(slot.destination, slot.name, delivery.event.eventId);
      return undefined;
    }
    const ended = Promise.withResolvers<DeliveryOutcome | void>();
    slot.gates.push({ delivery, resolve: ended.resolve, reject: ended.reject });
    slot.handedOver();
    return await ended.promise;
  }

  function openSlot(destination: string, name: string): Slot {
    const slot = { name, destination, gates: [], handedOver: () => undefined, round: undefined, drains: false };
    return start(slot);
  }
  function start(stopped: Omit<Slot, 'db' | 'relay'>): Slot {
    const db = connectAs(log, stopped.name);
    const relay = createTestRelay(
      { ...log, db },
      {
        destination: stopped.destination,
        afterDeadLetter: policies[stopped.destination] ?? 'continue',
        mostAttempts,
        concurrency: 2,
        deliver: async (delivery) => await deliver(slot, delivery),
      },
    );
    const slot: Slot = Object.assign(stopped, { db, relay });
    return slot;
  }
  const slots = Object.keys(policies).flatMap((destination) =>
    [0, 1].map((n) => openSlot(destination, `relay-${destination}-${n}`)),
  );

  /** Claims; the deliveries are in its hands, or the round is over. */
  async function startRound(slot: Slot): Promise<void> {
    const handedOver = Promise.withResolvers<void>();
    slot.handedOver = handedOver.resolve;
    const round = slot.relay.relay.processOutbox();
    slot.round = round;
    const isOver = round.then(
      () => undefined,
      () => undefined,
    );
    // The first delivery in hand brings the others with it.
    await Promise.race([isOver, handedOver.promise]);
    model.inHand.set(slot.name, slot.gates.length);
    if (slot.gates.length === 0) await endRound(slot);
  }

  async function endRound(slot: Slot): Promise<void> {
    const { round } = slot;
    const recorded = async (): Promise<void> => {
      await round;
      slot.round = undefined;
    };
    await deps.proceed(slot.name, recorded());
  }

  async function endDelivery(slot: Slot, { delivery, resolve, reject }: Gate, ending: Ending): Promise<void> {
    const { eventId } = delivery.event;
    const key = keyOf(eventId, slot.destination);
    if (ending === 'ok' || ending === 'answer lost') await arrive(slot.destination, delivery);
    model.handBack(slot.destination, slot.name, eventId);
    switch (ending) {
      case 'ok':
        resolve();
        break;
      case 'answer lost':
        reject(new Error('no answer'));
        break;
      case 'fails':
        failing.add(eventId);
        await buses
          .get(slot.destination)
          ?.deliver(delivery.event)
          .then(() => resolve(), reject);
        // A handler that had run before is not called again.
        if (failing.delete(eventId)) model.arrived.add(key);
        break;
      case 'never':
        model.condemned.add(key);
        reject(new PermanentDeliveryError('never'));
        break;
      case 'away':
        reject(new UnavailableError('nobody home'));
        break;
      case 'early':
        resolve({ kind: 'wait', reason: 'too early', milliseconds: 60_000 });
        break;
    }
  }

  /** Ends the first delivery in hand, or all; after the last one the round is recorded. */
  async function publish(slot: Slot, endings: readonly Ending[], all: boolean): Promise<void> {
    const gates = slot.gates.splice(0, all ? slot.gates.length : 1);
    for (const [index, gate] of gates.entries()) {
      await endDelivery(slot, gate, endings[index % endings.length] ?? 'ok');
    }
    model.inHand.set(slot.name, slot.gates.length);
    if (slot.gates.length === 0) await endRound(slot);
  }

  /** Its connections are gone before it can say anything. */
  async function crash(slot: Slot, published: boolean): Promise<void> {
    const gates = slot.gates.splice(0);
    if (published) for (const { delivery } of gates) await arrive(slot.destination, delivery);
    await slot.db.destroy();
    for (const { reject } of gates) reject(new Error('crashed'));
    await expect(slot.round).rejects.toThrow();
    await slot.relay.stop();
    slot.round = undefined;
    model.inHand.set(slot.name, 0);
    start(slot);
  }

  async function close(): Promise<void> {
    for (const slot of slots) {
      if (slot.gates.length > 0) await crash(slot, false);
      await slot.relay.stop();
      await slot.db.destroy();
    }
  }

  return { slots, violations, startRound, publish, crash, close };
}
