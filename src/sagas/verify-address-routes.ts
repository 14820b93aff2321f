// What a user's events mean to the saga `verifyAddress`: each new address starts one, the verification ends it.
import { causedBy, type DomainEvent } from '../domain/event.ts';
import {
  emailVerifiedSignal,
  verifyAddressId,
  verifyAddressName,
  type EmailVerified,
  type VerificationLimits,
  type VerifyAddressInput,
} from '../domain/user-verification.ts';
import { sinceLastAddress } from '../domain/user.ts';
import { nothing, type SagaAction, type SagaRoute } from './saga-route.ts';

export const onUserCreated: SagaRoute<'user.created'> = (event, { verification }) =>
  start(event, event.payload, verification);

/** The run of the address before finds out at its next step that it is superseded, and ends. */
export const onEmailUpdated: SagaRoute<'user.email_updated'> = (event, { verification }) => {
  const { userId, newEmail } = event.payload;
  return start(event, { userId, email: newEmail, changedBy: event.eventId }, verification);
};

function start(
  event: DomainEvent,
  { userId, email, changedBy }: Readonly<{ userId: string; email: string; changedBy?: string }>,
  limits: VerificationLimits,
): SagaAction {
  const metadata = causedBy(event);
  const input: VerifyAddressInput = {
    userId,
    email,
    limits,
    metadata,
    ...(changedBy === undefined ? {} : { changedBy }),
  };
  return {
    kind: 'start',
    request: {
      workflow: verifyAddressName,
      workflowId: verifyAddressId(userId, changedBy),
      input,
      // No address in it: summaries are stored in clear.
      summary: `Verification of user ${userId}`,
      details: `Reminders every ${limits.reminderSeconds} s, at an end after ${limits.expirySeconds} s.`,
      searchAttributes: {
        CustomerId: userId,
        TenantId: metadata.tenantId,
        SagaStatus: 'Running',
        SagaStep: 'start',
      },
    },
  };
}

/**
 * For the run of the address that the user had then; of another address it is none. Where the run has ended, its last
 * step has read the user's stream: the verification came first, or too late.
 */
export const onEmailVerified: SagaRoute<'user.email_verified'> = async ({ eventId, version, payload }, { store }) => {
  const message: EmailVerified = { eventId, email: payload.email };
  const before = (await store.getEvents(payload.userId)).filter((event) => event.version < version);
  const [brought] = sinceLastAddress(before);
  const changedBy = brought?.eventType === 'user.email_updated' ? brought.eventId : undefined;
  const workflowId = verifyAddressId(payload.userId, changedBy);
  return { kind: 'signal', workflowId, signal: emailVerifiedSignal, message, whenEnded: async () => nothing };
};
