// What a user's events mean to the saga `verifyAddress`: each new address starts one, the verification ends it.
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
import { sinceLastAddress } from '../domain/user.ts';
import type { SagaStartRequest } from './saga-client.ts';
import { nothing, type SagaRoute } from './saga-route.ts';

export const onUserCreated: SagaRoute<'user.created'> = (event, { verification }) => ({
  kind: 'start',
  request: verifyAddressStart(event, verification),
});

/** The run of the address before finds out at its next step that it is superseded, and ends. */
export const onEmailUpdated: SagaRoute<'user.email_updated'> = (event, { verification }) => ({
  kind: 'start',
  request: verifyAddressStart(event, verification),
});

export function verifyAddressStart(
  event: StoredEvent<EventOf<'user.created' | 'user.email_updated'>>,
  limits: VerificationLimits,
): SagaStartRequest {
  const { userId } = event.payload;
  const metadata = causedBy(event);
  const address =
    event.eventType === 'user.created'
      ? { email: event.payload.email }
      : { email: event.payload.newEmail, changedBy: event.eventId };
  const input: VerifyAddressInput = { userId, ...address, limits, metadata };
  return {
    workflow: verifyAddressName,
    workflowId: verifyAddressId(userId, address.changedBy),
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
