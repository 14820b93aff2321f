// When an endpoint is tried again: by the schedule of Standard Webhooks, and by what the endpoint itself asks for.
import type { RetrySchedule } from '../outbox/delivery.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;

/** Before each attempt, in milliseconds since the one before it failed. A bit more than three days in all. */
export const waitsBeforeAttempts: readonly number[] = [
  0,
  5 * second,
  5 * minute,
  30 * minute,
  2 * hour,
  5 * hour,
  10 * hour,
  14 * hour,
  20 * hour,
  24 * hour,
];
/** Added, never taken away: so much of the wait at most, that what failed together does not come back together. */
export const jitter = 0.1;

export const webhookSchedule: RetrySchedule = (attempts) =>
  (waitsBeforeAttempts[Math.min(attempts, waitsBeforeAttempts.length - 1)] ?? 0) * (1 + Math.random() * jitter);

/** What an endpoint may ask for; whoever wants more is asked again then. */
const longestRetryAfter = 24 * hour;

/**
 * @param value of a Retry-After header: seconds, or an HTTP date
 * @returns milliseconds from now, at most a day; undefined where there is none, or none to be understood
 */
export function parseRetryAfter(value: string | undefined, now: Date): number | undefined {
  const text = value?.trim() ?? '';
  const wait = /^\d{1,10}$/.test(text) ? Number(text) * second : dateOf(text) - now.getTime();
  return Number.isNaN(wait) ? undefined : Math.min(longestRetryAfter, Math.max(0, wait));
}

/** HTTP's dates begin with the day's name; `Date.parse` alone would take `-5` for a year. */
const dateOf = (text: string): number => (/^[A-Z][a-z]{2,8},? /.test(text) ? Date.parse(text) : Number.NaN);
