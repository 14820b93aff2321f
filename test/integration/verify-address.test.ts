// The verification of a new user's address, on the time-skipping server: a week in a moment. A saga that knows no order.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { verifyAddressId } from '../../src/domain/user-verification.ts';
import { delivered } from '../../src/outbox/delivery.ts';
import { eventTypes, type SagaService } from '../support/saga-service.ts';
import { startTimeSkippingService, type TimeSkippingService } from '../support/time-skipping-service.ts';
import { createUser, verifyEmail } from '../support/users.ts';

let test: TimeSkippingService;
let service: SagaService;
beforeAll(async () => {
  test = await startTimeSkippingService();
  ({ service } = test);
});
afterAll(async () => await test.stop());

/** Time goes on only while a test waits for a run, or sleeps. */
async function newUser(): Promise<string> {
  const userId = await createUser(service);
  expect(await test.deliver(userId, 'user.created')).toEqual(delivered);
  return userId;
}
const resultOf = async (userId: string): Promise<unknown> =>
  (await test.environment.client.workflow.result(verifyAddressId(userId))) as unknown;
const remindersOf = async (userId: string): Promise<readonly unknown[]> =>
  (await service.parts.store.getEvents(userId))
    .filter(({ eventType }) => eventType === 'user.verification_reminder_due')
    .map(({ payload }) => (payload as { reminder: number }).reminder);

it('that never comes: a reminder each day, and on the seventh it expires, once', async () => {
  const userId = await newUser();
  const before = await test.environment.currentTimeMs();
  expect(await resultOf(userId)).toEqual({ status: 'expired', reminders: 6 });
  expect((await test.environment.currentTimeMs()) - before).toBeGreaterThanOrEqual(7 * 86_400_000);
  expect(await remindersOf(userId)).toEqual([1, 2, 3, 4, 5, 6]);
  expect((await eventTypes(service, userId)).slice(-2)).toEqual([
    'user.verification_reminder_due',
    'user.verification_expired',
  ]);
  // A verification that comes now meets a run that has ended, and its delivery is done.
  await verifyEmail(service, userId);
  expect(await test.deliver(userId, 'user.email_verified')).toEqual(delivered);
});

it('that comes in time ends the reminders', async () => {
  const userId = await newUser();
  await test.environment.sleep('2.5 days');
  await verifyEmail(service, userId);
  expect(await test.deliver(userId, 'user.email_verified')).toEqual(delivered);
  expect(await test.deliver(userId, 'user.email_verified')).toEqual(delivered);
  expect(await resultOf(userId)).toEqual({ status: 'verified', reminders: 2 });
  expect(await eventTypes(service, userId)).toEqual([
    'user.created',
    'user.verification_reminder_due',
    'user.verification_reminder_due',
    'user.email_verified',
  ]);
});

it('whose signal has not arrived by the end is found in the user’s stream: reminders stop, and nothing expires', async () => {
  const userId = await newUser();
  await test.environment.sleep('3.5 days');
  await verifyEmail(service, userId);
  expect(await resultOf(userId)).toMatchObject({ status: 'verified' });
  expect(await remindersOf(userId)).toEqual([1, 2, 3]);
  expect(await eventTypes(service, userId)).not.toContain('user.verification_expired');
});

it('of another address is none', async () => {
  const userId = await newUser();
  await verifyEmail(service, userId, 'eve@example.com');
  await test.deliver(userId, 'user.email_verified');
  expect(await resultOf(userId)).toEqual({ status: 'expired', reminders: 6 });
});

it('of a user whose event is delivered twice is one saga', async () => {
  const userId = await newUser();
  expect(await test.deliver(userId, 'user.created')).toEqual(delivered);
  expect(await resultOf(userId)).toEqual({ status: 'expired', reminders: 6 });
  expect(await test.deliver(userId, 'user.created')).toEqual(delivered);
  expect(await remindersOf(userId)).toEqual([1, 2, 3, 4, 5, 6]);
});

it('that is cancelled in Temporal ends at once, with nothing to undo', async () => {
  const userId = await newUser();
  const run = test.environment.client.workflow.getHandle(verifyAddressId(userId));
  await run.cancel();
  await expect(run.result()).rejects.toMatchObject({ cause: { name: 'CancelledFailure' } });
  expect(await eventTypes(service, userId)).toEqual(['user.created']);
});
