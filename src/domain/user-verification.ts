// What the saga `verifyAddress`, its steps and its routes agree on. Safe in the workflow sandbox: types and constants only.
import type { EventMetadata } from './event.ts';
import type { ParkingLimits } from './saga-contract.ts';

export const verifyAddressName = 'verifyAddress';
/** One for each address that a user gets: `changedBy` is the event that brought it, or none for the first address. */
export const verifyAddressId = (userId: string, changedBy?: string): string =>
  `verify-address-${userId}${changedBy === undefined ? '' : `-${changedBy}`}`;
export const emailVerifiedSignal = 'emailVerified';
export const verifyAddressPlan = { compensatable: ['remind'], pivot: 'expire', retriable: [] } as const;

export type VerificationLimits = ParkingLimits &
  Readonly<{
    /** Between two reminders, and before the first. */
    reminderSeconds: number;
    /** After that the address counts as not verified, for good. */
    expirySeconds: number;
  }>;

export type VerifyAddressInput = Readonly<{
  userId: string;
  email: string;
  /** The id of the `user.email_updated` that brought the address; without, the user began with it. */
  changedBy?: string;
  limits: VerificationLimits;
  metadata: EventMetadata;
}>;
/** Comes at least once; twice says nothing new. */
export type EmailVerified = Readonly<{ eventId: string; email: string }>;
export type VerifyAddressResult = Readonly<{ status: VerificationOutcome | 'stopped'; reminders: number }>;
/** What the user's stream says: whichever came first. `superseded`: the user has another address by now. */
export type VerificationOutcome = 'verified' | 'expired' | 'superseded';

type AddressRef = Readonly<{ userId: string; email: string; changedBy?: string; metadata: EventMetadata }>;

/** `undefined` is the answer of an older release's step, in histories that are replayed: the run goes on. */
export type Reminded = Exclude<VerificationOutcome, 'expired'> | 'reminded' | undefined;

/** Each is idempotent, and retried by Temporal until it works. */
export type VerifyAddressActivities = Readonly<{
  /** Says that a reminder is due, unless the address is verified or superseded by now. `reminder` counts from 1. */
  remindOfVerification(input: AddressRef & Readonly<{ reminder: number }>): Promise<Reminded>;
  /** Ends the verification, unless the address is verified or superseded by now. */
  expireVerification(input: AddressRef): Promise<VerificationOutcome>;
}>;
