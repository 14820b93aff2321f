// What an endpoint may ask for by Retry-After, and what the schedule waits.
import { expect, it } from 'vitest';
import { parseRetryAfter, waitsBeforeAttempts, webhookSchedule } from '../../../src/webhooks/retry-schedule.ts';
import { timeoutSeconds } from '../../../src/webhooks/post-webhook.ts';
import { deliverySeconds } from '../../../src/outbox/delivery-limits.ts';

const now = new Date('2026-11-23T12:00:00Z');

it.each([
  ['0', 0],
  ['120', 120_000],
  [' 7 ', 7_000],
  ['Mon, 23 Nov 2026 12:05:00 GMT', 300_000],
  ['Mon, 23 Nov 2026 11:00:00 GMT', 0],
  ['999999999', 86_400_000],
  ['Tue, 23 Nov 2032 12:00:00 GMT', 86_400_000],
])('Retry-After: %s', (value, milliseconds) => {
  expect(parseRetryAfter(value, now)).toBe(milliseconds);
});

it.each([undefined, '', 'soon', '-5', '1.5', '1e9', 'Mon'])(
  'what is not to be understood says nothing: %s',
  (value) => {
    expect(parseRetryAfter(value, now)).toBeUndefined();
  },
);

it('waits as Standard Webhooks says, a bit longer by chance, never shorter', () => {
  for (const [attempts, milliseconds] of waitsBeforeAttempts.entries()) {
    if (attempts === 0) continue;
    const waits = Array.from({ length: 200 }, () => webhookSchedule(attempts));
    expect(Math.min(...waits)).toBeGreaterThanOrEqual(milliseconds);
    expect(Math.max(...waits)).toBeLessThanOrEqual(milliseconds * 1.1);
  }
  expect(waitsBeforeAttempts.map((milliseconds) => milliseconds / 1000)).toEqual([
    0, 5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400,
  ]);
});

it('a receiver has less time than the relay gives the whole delivery', () => {
  expect(timeoutSeconds + 5).toBeLessThanOrEqual(deliverySeconds);
});
