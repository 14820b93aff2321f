// What a destination is: a function that takes one delivery. The relay knows nothing else of Temporal or of a bus.
import { UnavailableError } from '../domain/errors.ts';
import type { EventMetadata, StoredEvent } from '../domain/event.ts';
import type { EventRow } from '../platform/schema.ts';

/** `E`: what the destination takes. Its relay decodes rows to that. */
export type Delivery<E = StoredEvent> = Readonly<{
  event: E;
  /** This one included. */
  attempts: number;
  /** Sent again past its place in the order, from the dead letters. */
  redelivered: boolean;
}>;

/** `wait`: nothing is wrong, it is only too early. The attempt is given back and the delivery keeps its place. */
export type DeliveryOutcome =
  | Readonly<{ kind: 'done' }>
  | Readonly<{ kind: 'wait'; reason: string; milliseconds: number }>;
export const delivered: DeliveryOutcome = { kind: 'done' };

/**
 * Delivers at least once: it may be called again with the same event after a success whose record was lost.
 * @throws UnavailableError the destination is away: it is paused as a whole and no attempt is burnt
 * @throws DestinationMisconfiguredError the same, and people are called: it does not come back by itself
 * @throws PermanentDeliveryError repeating cannot help: a dead letter at once
 * @throws RetryAfterError the attempt failed, and the next one comes no earlier than that
 * Any other error is an attempt, retried with back-off until the destination's limit makes it a dead letter.
 */
export type Deliver<E = StoredEvent> = (delivery: Delivery<E>) => Promise<DeliveryOutcome>;

export class PermanentDeliveryError extends Error {
  override readonly name = 'PermanentDeliveryError';
}

/** The attempt failed, and the other side has said when to come back: not before that, whatever the back-off says. */
export class RetryAfterError extends Error {
  override readonly name = 'RetryAfterError';
  readonly milliseconds: number;
  constructor(message: string, milliseconds: number) {
    super(message);
    this.milliseconds = milliseconds;
  }
}

/** The destination answers and refuses everything: a wrong name or right. No event is at fault, so none is a dead letter. */
export class DestinationMisconfiguredError extends UnavailableError {}

/** A failed delivery waits at most `base` after its first attempt, twice that after the second, up to `longest`. */
export type Backoff = Readonly<{ baseMilliseconds: number; longestMilliseconds: number }>;
export const defaultBackoff: Backoff = { baseMilliseconds: 1_000, longestMilliseconds: 300_000 };

/** Instead of a back-off: how long a delivery waits, in milliseconds, after its attempt of this number, from 1, failed. */
export type RetrySchedule = (attempts: number) => number;

/** Each destination has its own. */
export type DestinationPolicy<E = StoredEvent> = Readonly<{
  destination: string;
  deliver: Deliver<E>;
  /**
   * Instead of `deliver`, for a destination whose deliveries may be put back: asked before each claim, and what is
   * claimed then goes by its answer, which refuses what was put back since. Never rejects.
   */
  begin?: () => Promise<Deliver<E>>;
  /** Ends once a destination that was away answers again, which cuts the pause short; or when it is told to. */
  untilBack?: (signal: AbortSignal) => Promise<void>;
  /** What a dead letter does to later events of its aggregate. */
  afterDeadLetter: 'block' | 'continue';
  /** Then the delivery is a dead letter. */
  mostAttempts: number;
  /** Deliveries under way at once; each is of another aggregate. */
  concurrency: number;
  /** Between the attempts; `defaultBackoff` where it has none of its own. */
  backoff?: Backoff | RetrySchedule;
}>;

/** What every log line about an event carries: its id, and by which all lines of its command are found. */
export function logContextOf({ id, event_type: eventType, metadata }: EventRow): Readonly<Record<string, unknown>> {
  return { eventId: id, eventType, correlationId: (metadata as EventMetadata | null)?.correlationId };
}

/** For people: what went wrong, and in each handler where there were several. */
export function describeError(error: unknown): string {
  if (error instanceof AggregateError) {
    return `${error.message}: ${error.errors.map((each) => describeError(each)).join('; ')}`;
  }
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
