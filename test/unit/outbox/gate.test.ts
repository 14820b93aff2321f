import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import type { StoredEvent } from '../../../src/domain/event.ts';
import { delivered, type Delivery, type DeliveryOutcome } from '../../../src/outbox/delivery.ts';
import { createGate } from '../../../src/outbox/gate.ts';

const delivery: Delivery = { event: {} as StoredEvent, attempts: 1, redelivered: false };

/** When what hangs is known to hang. */
const later = async (): Promise<undefined> => {
  for (let turn = 0; turn < 50; turn += 1) await new Promise((resolve) => setImmediate(resolve));
};

/** A destination that answers or not, and takes deliveries or not. */
function createDestination() {
  const seen = { answers: true, takes: true, asked: 0, called: 0 };
  const gate = createGate({
    async ask() {
      seen.asked += 1;
      await Promise.resolve();
      if (!seen.answers) throw new Error('no answer');
    },
  });
  const call = async (): Promise<DeliveryOutcome> => {
    seen.called += 1;
    await Promise.resolve();
    if (!seen.takes) throw new UnavailableError('not now');
    return delivered;
  };
  return { seen, gate, call, deliver: gate.inFrontOf(call) };
}

describe('a destination that does not answer', () => {
  it('is called by no delivery, and asked once for all that wait', async () => {
    const { seen, deliver } = createDestination();
    seen.answers = false;
    const results = await Promise.allSettled(Array.from({ length: 5 }, async () => await deliver(delivery)));
    for (const result of results) {
      expect(result).toMatchObject({ status: 'rejected', reason: { name: 'UnavailableError' } });
    }
    expect(seen).toMatchObject({ asked: 1, called: 0 });
  });

  it('is seen to be back by whoever waits for that', async () => {
    const { seen, gate, deliver } = createDestination();
    seen.answers = false;
    await expect(deliver(delivery)).rejects.toThrow(UnavailableError);
    const back = gate.untilBack(new AbortController().signal);
    await Promise.resolve();
    seen.answers = true;
    await back;
    expect(seen.called).toBe(0);
    expect(await deliver(delivery)).toBe(delivered);
  });
});

describe('a destination that answers', () => {
  it('is not asked again before the next delivery', async () => {
    const { seen, deliver } = createDestination();
    await deliver(delivery);
    await deliver(delivery);
    expect(seen).toMatchObject({ asked: 1, called: 2 });
  });

  it('is asked again once a delivery has found it away', async () => {
    const { seen, deliver } = createDestination();
    seen.takes = false;
    await expect(deliver(delivery)).rejects.toThrow('not now');
    seen.answers = false;
    await expect(deliver(delivery)).rejects.toThrow(UnavailableError);
    expect(seen).toMatchObject({ asked: 2, called: 1 });
  });

  it('is asked again after three calls, by all that wait together, and none is begun on an older word', async () => {
    const { seen, gate, call } = createDestination();
    await Promise.all(Array.from({ length: 7 }, async () => await gate.call(call)));
    expect(seen).toMatchObject({ asked: 3, called: 7 });
  });

  it('and dies then is called three times more at most, however many have been let in before', async () => {
    const { seen, gate } = createDestination();
    const alive = Promise.withResolvers<DeliveryOutcome>();
    const before = gate.call(async () => await alive.promise);
    await Promise.resolve();
    const afterDeath: number[] = [];
    const load = Array.from({ length: 20 }, async (_, index) => {
      // Each has something of its own to do between the gate and its call.
      const deliver = gate.inFrontOf(async () => {
        for (let turn = 0; turn < 5; turn += 1) await new Promise((resolve) => setImmediate(resolve));
        return await gate.call(async () => {
          if (!seen.answers) afterDeath.push(index);
          return await new Promise<DeliveryOutcome>(() => undefined);
        });
      });
      return await deliver(delivery);
    });
    seen.answers = false;
    // What was answered before is heard only now.
    alive.resolve(delivered);
    await before;
    const results = await Promise.all(
      load.map(async (one) => await Promise.race([one.catch((error: unknown) => error), later()])),
    );
    expect(afterDeath.length).toBeGreaterThan(0);
    expect(afterDeath.length).toBeLessThanOrEqual(3);
    expect(results.filter((result) => result instanceof UnavailableError)).toHaveLength(20 - afterDeath.length);
  });

  it('and takes no delivery is not back: whoever waits does so until it is told to stop', async () => {
    const { seen, gate } = createDestination();
    const stopping = new AbortController();
    let ended = false;
    const waiting = gate.untilBack(stopping.signal).then(() => (ended = true));
    while (seen.asked < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    stopping.abort();
    await waiting;
  });
});
