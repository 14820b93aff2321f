// The steps of `verifyAddress`. The user's stream decides between the verification and its end: whoever appends first.
import type { CatalogueEvent, EventOf } from '../src/domain/catalogue.ts';
import type { EventContext, StoredEvent } from '../src/domain/event.ts';
import { derivedId } from '../src/domain/ids.ts';
import type { VerifyAddressActivities } from '../src/domain/user-verification.ts';
import { userAggregate } from '../src/domain/user.ts';
import type { EventStore } from '../src/event-store/event-store.ts';
import type { RunUnitOfWork, UnitOfWork } from '../src/event-store/unit-of-work.ts';
import type { Db } from '../src/platform/database.ts';
import { createStepRunner, type StepWork } from './saga-step.ts';

type EndOrReminder = EventOf<'user.verification_reminder_due' | 'user.verification_expired'>;
export type VerifyAddressDeps = Readonly<{ db: Db; store: EventStore; unitOfWork: RunUnitOfWork }>;

export function createVerifyAddressActivities({ db, store, unitOfWork }: VerifyAddressDeps): VerifyAddressActivities {
  const runStep = createStepRunner({ db });

  /** Nothing where `event` is stored, or the address verified. @returns whether the address is verified */
  async function appendUnlessVerified(step: StepWork, event: EndOrReminder): Promise<boolean> {
    return await unitOfWork(async (unit: UnitOfWork) => {
      const stream = (await store.getEvents(event.aggregateId, {
        tx: unit.tx,
      })) as readonly StoredEvent<CatalogueEvent>[];
      const verified = stream.some(
        (stored) => stored.eventType === 'user.email_verified' && stored.payload.email === event.payload.email,
      );
      const isStored = stream.some(({ eventId }) => eventId === event.eventId);
      // Lost against another writer, the step is run again and looks again.
      if (!verified && !isStored) await unit.append(event, stream.length);
      await step.record(unit.tx, 'done');
      return verified;
    });
  }

  return {
    remindOfVerification: async ({ userId, email, reminder, metadata }) =>
      await runStep('remind', metadata, async (step) => {
        const eventId = derivedId('event', step.workflowId, 'reminder', String(reminder));
        const eventType = 'user.verification_reminder_due';
        const payload = { userId, email, reminder };
        await appendUnlessVerified(step, { ...ofUser(userId, step.context), eventId, eventType, payload });
      }),

    expireVerification: async ({ userId, email, metadata }) =>
      await runStep('expire', metadata, async (step) => {
        const eventId = derivedId('event', step.workflowId, 'expired');
        const eventType = 'user.verification_expired';
        const payload = { userId, email };
        const event = { ...ofUser(userId, step.context), eventId, eventType, payload } as const;
        return (await appendUnlessVerified(step, event)) ? 'verified' : 'expired';
      }),
  };
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
