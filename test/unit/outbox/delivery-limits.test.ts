// The order of the time limits: nobody begins again what may still be running.
import { expect, it } from 'vitest';
import { deliverySeconds, handlerSeconds, leaseSeconds } from '../../../src/outbox/delivery-limits.ts';

/** For the statement that ends it, and for its record. */
const spareSeconds = 5;

it('a lease outlives its delivery, and a delivery its handlers, each with time to spare', () => {
  expect(deliverySeconds).toBeGreaterThanOrEqual(handlerSeconds + spareSeconds);
  expect(leaseSeconds).toBeGreaterThanOrEqual(deliverySeconds + spareSeconds);
});
