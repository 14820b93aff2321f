// A new user's address: reminders until it is verified, or until it is too late.
import { condition, defineSignal, proxyActivities, setHandler } from '@temporalio/workflow';
import {
  emailVerifiedSignal,
  verifyAddressSteps,
  type EmailVerified,
  type VerifyAddressActivities,
  type VerifyAddressInput,
  type VerifyAddressResult,
} from '../src/domain/user-verification.ts';
import { runSaga, StopRequested, untilItWorks, type Saga } from './saga.ts';

const step = <K extends keyof VerifyAddressActivities>(name: K, summary: string): VerifyAddressActivities[K] =>
  proxyActivities<VerifyAddressActivities>({ ...untilItWorks, summary })[name];
const remindOfVerification = step('remindOfVerification', 'Say that a reminder is due');
const expireVerification = step('expireVerification', 'End the verification');

type Progress = { verified: boolean; reminders: number };

/** COMPLETED, verified or expired: whichever is in the user's stream. CANCELED through Temporal: nothing is to undo. */
export async function verifyAddress(input: VerifyAddressInput): Promise<VerifyAddressResult> {
  const progress: Progress = { verified: false, reminders: 0 };
  const title = `Address of user ${input.userId}`;
  return await runSaga({ title, steps: verifyAddressSteps }, async (saga) => {
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

async function untilVerified(
  saga: Saga<(typeof verifyAddressSteps)[number]>,
  { userId, email, limits, metadata }: VerifyAddressInput,
  progress: Progress,
): Promise<VerifyAddressResult> {
  const address = { userId, email, metadata };
  const expiry = Date.now() + limits.expirySeconds * 1000;
  const isOver = (): boolean => progress.verified || Date.now() >= expiry;
  while (!isOver()) {
    const next = Math.min(limits.reminderSeconds * 1000, expiry - Date.now());
    await condition(() => progress.verified || saga.stopRequested(), next, { summary: 'Wait for the verification' });
    saga.throwIfStopped();
    if (isOver()) break;
    const reminder = (progress.reminders += 1);
    await saga.step('remind', { do: async () => await remindOfVerification({ ...address, reminder }) });
  }
  const status = progress.verified
    ? 'verified'
    : await saga.step('expire', { do: async () => await expireVerification(address) });
  saga.finish(status === 'verified' ? 'Confirmed' : 'Failed', `${status} after ${progress.reminders} reminders`);
  return { status, reminders: progress.reminders };
}
