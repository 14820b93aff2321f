// A user's address: reminders until it is verified, replaced by another, or until it is too late.
import { condition, defineSignal, proxyActivities, setHandler, type ActivityOptions } from '@temporalio/workflow';
import {
  emailVerifiedSignal,
  verifyAddressPlan,
  type EmailVerified,
  type Reminded,
  type VerificationOutcome,
  type VerifyAddressActivities,
  type VerifyAddressInput,
  type VerifyAddressResult,
} from '../src/domain/user-verification.ts';
import { parkingRecordsOf } from './order-steps.ts';
import { StopRequested } from './saga-outcomes.ts';
import type { Persistent } from './saga-parking.ts';
import { runSaga, type Saga } from './saga.ts';

const step =
  <K extends keyof VerifyAddressActivities>(name: K, summary: string) =>
  (options: ActivityOptions): VerifyAddressActivities[K] =>
    proxyActivities<VerifyAddressActivities>({ ...options, summary })[name];
const remindOfVerification = step('remindOfVerification', 'Say that a reminder is due');
const expireVerification = step('expireVerification', 'End the verification');

type Progress = { verified: boolean; reminders: number };

/** COMPLETED, verified, expired or superseded: whichever is in the user's stream. CANCELED through Temporal: nothing is to undo. */
export async function verifyAddress(input: VerifyAddressInput): Promise<VerifyAddressResult> {
  const progress: Progress = { verified: false, reminders: 0 };
  const options = {
    title: `Address of user ${input.userId}`,
    plan: verifyAddressPlan,
    limits: input.limits,
    records: parkingRecordsOf({ orderId: null, metadata: input.metadata }),
  };
  return await runSaga(options, async (saga) => {
    setHandler(defineSignal<[EmailVerified]>(emailVerifiedSignal), ({ email }) => {
      if (email === input.email) progress.verified = true;
    });
    try {
      return await untilVerified(saga, input, progress);
    } catch (error) {
      if (!(error instanceof StopRequested)) throw error;
      saga.finish('Cancelled', 'stopped');
      return { status: 'stopped', reminders: progress.reminders };
    }
  });
}

/** A reminder cannot be taken back, and need not. */
const nothingToUndo = async (): Promise<void> => {};

async function untilVerified(
  saga: Saga<typeof verifyAddressPlan>,
  { limits, ...address }: VerifyAddressInput,
  progress: Progress,
): Promise<VerifyAddressResult> {
  const expiry = Date.now() + limits.expirySeconds * 1000;
  const isOver = (): boolean => progress.verified || Date.now() >= expiry;
  while (!isOver()) {
    const next = Math.min(limits.reminderSeconds * 1000, expiry - Date.now());
    await condition(() => progress.verified || saga.stopRequested(), next, { summary: 'Wait for the verification' });
    saga.throwIfStopped();
    if (isOver()) break;
    const reminder = progress.reminders + 1;
    const remind: Persistent<Reminded> = async (patience) =>
      await remindOfVerification(patience)({ ...address, reminder });
    const reminded = await saga.compensatable('remind', {
      do: async () => await saga.orByHand('remind', remind),
      undo: nothingToUndo,
    });
    // The other address has a run of its own, and this one's further reminders would reach somebody else.
    if (reminded === 'superseded') return ended(saga, reminded, progress);
    progress.reminders = reminder;
  }
  const status = progress.verified
    ? 'verified'
    : await saga.pivot('expire', async (patience) => await expireVerification(patience)(address));
  return ended(saga, status, progress);
}

const wordFor = { verified: 'Confirmed', expired: 'Failed', superseded: 'Cancelled' } as const;

function ended(
  saga: Saga<typeof verifyAddressPlan>,
  status: VerificationOutcome,
  { reminders }: Progress,
): VerifyAddressResult {
  saga.finish(wordFor[status], `${status} after ${reminders} reminders`);
  return { status, reminders };
}
