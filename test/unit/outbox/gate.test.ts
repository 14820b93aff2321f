import { describe, expect, it } from 'vitest';
import { UnavailableError } from '../../../src/domain/errors.ts';
import type { StoredEvent } from '../../../src/domain/event.ts';
import { delivered, type Delivery } from '../../../src/outbox/delivery.ts';
import { createGate } from '../../../src/outbox/gate.ts';

const delivery: Delivery = { event: {} as StoredEvent, attempts: 1, redelivered: false };

/** A destination that answers or not, and takes deliveries or not. */
function createDestination() {
  const seen = { answers: true, takes: true, asked: 0, called: 0 };
  const gate = createGate({
    async ask() {
      seen.asked += 1;
      await Promise.resolve();
      if (!seen.answers) throw new Error('no answer');
    },
    async deliver() {
      seen.called += 1;
      await Promise.resolve();
      if (!seen.takes) throw new UnavailableError('not now');
      return delivered;
    },
  });
  return { seen, gate };
}

describe('a destination that does not answer', () => {
  it('is called by no delivery, and asked once for all that wait', async () => {
    const { seen, gate } = createDestination();
    seen.answers = false;
    const results = await Promise.allSettled(Array.from({ length: 5 }, async () => await gate.deliver(delivery)));
    for (const result of results) {
      expect(result).toMatchObject({ status: 'rejected', reason: { name: 'UnavailableError' } });
    }
    expect(seen).toMatchObject({ asked: 1, called: 0 });
  });

  it('is seen to be back by whoever waits for that', async () => {
    const { seen, gate } = createDestination();
    seen.answers = false;
    await expect(gate.deliver(delivery)).rejects.toThrow(UnavailableError);
    const back = gate.untilBack(new AbortController().signal);
    await Promise.resolve();
    seen.answers = true;
    await back;
    expect(seen.called).toBe(0);
    expect(await gate.deliver(delivery)).toBe(delivered);
  });
});

describe('a destination that answers', () => {
  it('is not asked again before the next delivery', async () => {
    const { seen, gate } = createDestination();
    await gate.deliver(delivery);
    await gate.deliver(delivery);
    expect(seen).toMatchObject({ asked: 1, called: 2 });
  });

  it('is asked again once a delivery has found it away', async () => {
    const { seen, gate } = createDestination();
    seen.takes = false;
    await expect(gate.deliver(delivery)).rejects.toThrow('not now');
    seen.answers = false;
    await expect(gate.deliver(delivery)).rejects.toThrow(UnavailableError);
    expect(seen).toMatchObject({ asked: 2, called: 1 });
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
