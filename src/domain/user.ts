// The user aggregate, as a row with events: the row is the truth, and each change of it is an event as well. Decides only.
import type { EventOf } from './catalogue.ts';
import type { DomainEvent, EventContext } from './event.ts';
import { parseEmailAddress } from './user-address.ts';

export const userAggregate = 'user';

/** `version` counts the changes of the row, from 1. The stream's is another: the verification writes there as well. */
export type User = Readonly<{ userId: string; tenantId: string; email: string; version: number }>;
export type UserEvent = EventOf<'user.created' | 'user.email_updated'>;
/** What a command has decided: the user as it is to be stored, and what says so. Without an event nothing changes. */
export type UserChange = Readonly<{ user: User; event?: UserEvent }>;

/** @throws RangeError for what no edge should let through: an address that `parseEmailAddress` did not give */
export function createUser(given: Readonly<{ userId: string; email: string }>, context: EventContext): UserChange {
  mustBeParsed(given.email);
  const { userId, email } = given;
  const { tenantId } = context.metadata;
  const user = { userId, tenantId, email, version: 1 };
  return { user, event: { ...about(user, context), eventType: 'user.created', payload: { userId, email, tenantId } } };
}

/**
 * The same address again changes nothing, so a repeat is harmless. Another spelling of it is a change: mail goes to what
 * is stored, letter by letter.
 * @throws RangeError as `createUser`
 */
export function changeEmail(user: User, newEmail: string, context: EventContext): UserChange {
  mustBeParsed(newEmail);
  const { userId, email: oldEmail } = user;
  if (newEmail === oldEmail) return { user };
  const changed = { ...user, email: newEmail, version: user.version + 1 };
  const payload = { userId, oldEmail, newEmail };
  return { user: changed, event: { ...about(user, context), eventType: 'user.email_updated', payload } };
}

/** Of a user's stream: what happened since the user has its address of today, from the event that brought it on. */
export function sinceLastAddress<E extends DomainEvent>(stream: readonly E[]): readonly E[] {
  const brings = ({ eventType }: E): boolean => eventType === 'user.created' || eventType === 'user.email_updated';
  return stream.slice(Math.max(stream.findLastIndex(brings), 0));
}

function mustBeParsed(email: string): void {
  if (parseEmailAddress(email) !== email)
    throw new RangeError('email must be an address as parseEmailAddress gives it');
}

const about = (
  { userId }: User,
  { nextEventId, now, metadata }: EventContext,
): Pick<UserEvent, 'eventId' | 'occurredAt' | 'aggregateId' | 'aggregateType' | 'metadata'> => ({
  eventId: nextEventId(),
  occurredAt: now(),
  aggregateId: userId,
  aggregateType: userAggregate,
  metadata,
});
