// The steps of `verifyAddress`. The user's stream decides between the verification, another address and the end: whoever
// appends first.
import type { CatalogueEvent, EventOf } from '../src/domain/catalogue.ts';
import type { EventContext, StoredEvent } from '../src/domain/event.ts';
import { derivedId } from '../src/domain/ids.ts';
import type { VerificationOutcome, VerifyAddressActivities } from '../src/domain/user-verification.ts';
import { sinceLastAddress, userAggregate } from '../src/domain/user.ts';
import type { EventStore } from '../src/event-store/event-store.ts';
import type { RunUnitOfWork, UnitOfWork } from '../src/event-store/unit-of-work.ts';
import type { Db } from '../src/platform/database.ts';
import { createStepRunner, type StepWork } from './saga-step.ts';

type EndOrReminder = EventOf<'user.verification_reminder_due' | 'user.verification_expired'>;
export type VerifyAddressDeps = Readonly<{ db: Db; store: EventStore; unitOfWork: RunUnitOfWork }>;

export function createVerifyAddressActivities({ db, store, unitOfWork }: VerifyAddressDeps): VerifyAddressActivities {
  const runStep = createStepRunner({ db });

  /** Appends nothing where `event` is stored, or the answer is another. */
  async function appendWhilePending(
    step: StepWork,
    event: EndOrReminder,
    changedBy: string | undefined,
  ): Promise<Exclude<VerificationOutcome, 'expired'> | 'appended'> {
    return await unitOfWork(async (unit: UnitOfWork) => {
      const stream = (await store.getEvents(event.aggregateId, {
        tx: unit.tx,
      })) as readonly StoredEvent<CatalogueEvent>[];
      const isStored = stream.some(({ eventId }) => eventId === event.eventId);
      const answer = isStored ? 'appended' : whatStands(stream, event.payload.email, changedBy);
      // Lost against another writer, the step is run again and looks again.
      if (answer === 'appended' && !isStored) await unit.append(event, stream.length);
      await step.record(unit.tx, 'done');
      return answer;
    });
  }

  return {
    remindOfVerification: async ({ userId, email, changedBy, reminder, metadata }) =>
      await runStep('remind', metadata, async (step) => {
        const eventId = derivedId('event', step.workflowId, 'reminder', String(reminder));
        const eventType = 'user.verification_reminder_due';
        const payload = { userId, email, reminder };
        const event = { ...ofUser(userId, step.context), eventId, eventType, payload } as const;
        const answer = await appendWhilePending(step, event, changedBy);
        return answer === 'appended' ? 'reminded' : answer;
      }),

    expireVerification: async ({ userId, email, changedBy, metadata }) =>
      await runStep('expire', metadata, async (step) => {
        const eventId = derivedId('event', step.workflowId, 'expired');
        const eventType = 'user.verification_expired';
        const payload = { userId, email };
        const event = { ...ofUser(userId, step.context), eventId, eventType, payload } as const;
        const answer = await appendWhilePending(step, event, changedBy);
        return answer === 'appended' ? 'expired' : answer;
      }),
  };
}

/** An address that comes back is another one: what was verified before it went counts no more. */
function whatStands(
  stream: readonly StoredEvent<CatalogueEvent>[],
  email: string,
  changedBy: string | undefined,
): 'verified' | 'superseded' | 'appended' {
  const [brought, ...since] = sinceLastAddress(stream);
  const isOurs = changedBy === undefined ? brought?.eventType === 'user.created' : brought?.eventId === changedBy;
  if (!isOurs) return 'superseded';
  const verified = since.some((event) => event.eventType === 'user.email_verified' && event.payload.email === email);
  return verified ? 'verified' : 'appended';
}

const ofUser = (
  userId: string,
  { now, metadata }: EventContext,
): Pick<EventOf<'user.created'>, 'aggregateId' | 'aggregateType' | 'occurredAt' | 'metadata'> => ({
  aggregateId: userId,
  aggregateType: userAggregate,
  occurredAt: now(),
  metadata,
});
