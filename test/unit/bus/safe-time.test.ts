// Up to when deliveries count as acknowledged: never past one that is not, in whatever order relays and consumers act.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { safeTime } from '../../../src/bus/redis-epoch.ts';

const at = (second: number): Date => new Date(second * 1_000);

describe('the safe time', () => {
  it('is the look’s own where nothing waits, and the earliest first entry’s otherwise', () => {
    expect(safeTime(at(10), [])).toEqual(at(10));
    expect(safeTime(at(10), [at(8), at(7), at(12)])).toEqual(at(7));
  });

  it('is not known where a first entry does not say when it was sent', () => {
    expect(safeTime(at(10), [at(8), undefined])).toBeUndefined();
  });

  it('is never later than the publication of anything that is not acknowledged', () => {
    // A relay learns the time, adds an entry to a stream a while later, and publishes after that; each may be slow. A
    // consumer acknowledges any entries that have been added by then. One tick is one second.
    const delivery = fc.record({
      stream: fc.nat(2),
      learns: fc.nat(50),
      addsAfter: fc.nat(20),
      publishesAfter: fc.nat(20),
      isAcknowledged: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(delivery, { maxLength: 30 }), fc.nat(50), fc.nat(20), (given, asks, looksAfter) => {
        const looks = asks + looksAfter;
        const all = given.map(({ learns, addsAfter, publishesAfter, ...rest }) => {
          const adds = learns + addsAfter;
          return { ...rest, learns, adds, publishes: adds + publishesAfter };
        });
        const waiting = all.filter(({ adds, isAcknowledged }) => adds <= looks && !isAcknowledged);
        const first = [0, 1, 2].flatMap((n) =>
          waiting
            .filter(({ stream }) => stream === n)
            .toSorted((a, b) => a.adds - b.adds)
            .slice(0, 1),
        );
        const safe = safeTime(
          at(asks),
          first.map(({ learns }) => at(learns)),
        );
        const unacknowledged = all.filter(({ adds, isAcknowledged }) => adds > looks || !isAcknowledged);
        for (const { publishes } of unacknowledged) expect(at(publishes) < (safe ?? at(0))).toBe(false);
      }),
      { numRuns: 2_000 },
    );
  });
});
