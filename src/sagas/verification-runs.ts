// Which runs of `verifyAddress` a user has had, and how far today's is: from the user's stream and our own rows.
import type { CatalogueEvent } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import { verifyAddressId, verifyAddressPlan } from '../domain/user-verification.ts';
import { sinceLastAddress } from '../domain/user.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { RunView, SagaViews } from './saga-view.ts';

export type VerificationView = Readonly<{
  email: string;
  /** `expired`: the saga has ended, and nobody is reminded any more. */
  status: 'pending' | 'verified' | 'expired';
  /** Said of this address so far. */
  reminders: number;
  saga: RunView;
}>;

/** @returns their workflow ids, one for each address, in the order of the stream */
export const verificationRunsOf = (stream: readonly StoredEvent[]): readonly string[] =>
  stream.flatMap(({ eventType, aggregateId, eventId }) => {
    if (eventType === 'user.created') return [verifyAddressId(aggregateId)];
    return eventType === 'user.email_updated' ? [verifyAddressId(aggregateId, eventId)] : [];
  });

/** Of a user that exists. The address is that of the stream, whose verification it is. */
export async function findVerification(
  { store, sagaViews }: Readonly<{ store: EventStore; sagaViews: SagaViews }>,
  userId: string,
): Promise<VerificationView | undefined> {
  const stream = (await store.getEvents(userId)) as readonly StoredEvent<CatalogueEvent>[];
  const workflowId = verificationRunsOf(stream).at(-1);
  const [brought, ...since] = sinceLastAddress(stream);
  if (workflowId === undefined || brought === undefined) return undefined;
  const email = addressBroughtBy(brought);
  const status = statusOf(since, email);
  const { compensatable, pivot } = verifyAddressPlan;
  const ended = { pending: undefined, verified: 'Confirmed', expired: 'Failed' } as const;
  const saga = await sagaViews.ofRun(workflowId, { names: [...compensatable, pivot], ended: ended[status] });
  const reminders = since.filter(({ eventType }) => eventType === 'user.verification_reminder_due').length;
  return { email, status, reminders, saga };
}

function addressBroughtBy(event: StoredEvent<CatalogueEvent>): string {
  if (event.eventType === 'user.email_updated') return event.payload.newEmail;
  return event.eventType === 'user.created' ? event.payload.email : '';
}

/** Whichever came first. */
function statusOf(since: readonly StoredEvent<CatalogueEvent>[], email: string): VerificationView['status'] {
  const end = since.find(
    (event) =>
      (event.eventType === 'user.email_verified' || event.eventType === 'user.verification_expired') &&
      event.payload.email === email,
  );
  if (end === undefined) return 'pending';
  return end.eventType === 'user.email_verified' ? 'verified' : 'expired';
}
