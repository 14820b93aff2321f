// What a user's events mean to the saga `verifyAddress`: a new user starts it, the verification ends it.
import type { EventOf } from '../domain/catalogue.ts';
import { causedBy, type StoredEvent } from '../domain/event.ts';
import {
  emailVerifiedSignal,
  verifyAddressId,
  verifyAddressName,
  type EmailVerified,
  type VerificationLimits,
  type VerifyAddressInput,
} from '../domain/user-verification.ts';
import type { SagaStartRequest } from './saga-client.ts';
import { nothing, type SagaRoute } from './saga-route.ts';

export const onUserCreated: SagaRoute<'user.created'> = (event, { verification }) => ({
  kind: 'start',
  request: verifyAddressStart(event, verification),
});

export function verifyAddressStart(
  event: StoredEvent<EventOf<'user.created'>>,
  limits: VerificationLimits,
): SagaStartRequest {
  const { userId, email } = event.payload;
  const metadata = causedBy(event);
  const input: VerifyAddressInput = { userId, email, limits, metadata };
  return {
    workflow: verifyAddressName,
    workflowId: verifyAddressId(userId),
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
  };
}

/** Where the run has ended, its last step has read the user's stream: the verification came first, or too late. */
export const onEmailVerified: SagaRoute<'user.email_verified'> = ({ eventId, payload }) => {
  const message: EmailVerified = { eventId, email: payload.email };
  const workflowId = verifyAddressId(payload.userId);
  return { kind: 'signal', workflowId, signal: emailVerifiedSignal, message, whenEnded: async () => nothing };
};
