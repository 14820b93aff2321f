// What the saga `verifyAddress`, its steps and its routes agree on. Safe in the workflow sandbox: types and constants only.
import type { EventMetadata } from './event.ts';

export const verifyAddressName = 'verifyAddress';
/** One for each user: an address that is changed later is not this saga's. */
export const verifyAddressId = (userId: string): string => `verify-address-${userId}`;
export const emailVerifiedSignal = 'emailVerified';
export const verifyAddressPlan = { compensatable: ['remind'], pivot: 'expire', retriable: [] } as const;

export type VerificationLimits = Readonly<{
  /** Between two reminders, and before the first. */
  reminderSeconds: number;
  /** After that the address counts as not verified, for good. */
  expirySeconds: number;
}>;

export type VerifyAddressInput = Readonly<{
  userId: string;
  email: string;
  limits: VerificationLimits;
  metadata: EventMetadata;
}>;
/** Comes at least once; twice says nothing new. */
export type EmailVerified = Readonly<{ eventId: string; email: string }>;
export type VerifyAddressResult = Readonly<{ status: VerificationOutcome | 'stopped'; reminders: number }>;
/** What the user's stream says: whichever came first. */
export type VerificationOutcome = 'verified' | 'expired';

type AddressRef = Readonly<{ userId: string; email: string; metadata: EventMetadata }>;

/** Each is idempotent, and retried by Temporal until it works. */
export type VerifyAddressActivities = Readonly<{
  /** Says that a reminder is due, unless the address is verified by now. `reminder` counts from 1. */
  remindOfVerification(input: AddressRef & Readonly<{ reminder: number }>): Promise<void>;
  /** Ends the verification, unless the address is verified by now. */
  expireVerification(input: AddressRef): Promise<VerificationOutcome>;
}>;
