// The verification of a user's address, on the time-skipping server: a week in a moment. A saga that knows no order.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { verifyAddressId } from '../../src/domain/user-verification.ts';
import { delivered } from '../../src/outbox/delivery.ts';
import { eventTypes, type SagaService } from '../support/saga-service.ts';
import { startTimeSkippingService, type TimeSkippingService } from '../support/time-skipping-service.ts';
import { changeEmail, createUser, email, newEmail, verifyEmail } from '../support/users.ts';

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
const resultOf = async (userId: string, changedBy?: string): Promise<unknown> =>
  (await test.environment.client.workflow.result(verifyAddressId(userId, changedBy))) as unknown;
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

/** Reminders and ends in the order of the stream, each with its address. */
const saidOf = async (userId: string): Promise<readonly string[]> =>
  (await service.parts.store.getEvents(userId))
    .filter(({ eventType }) => eventType.startsWith('user.verification_'))
    .map(({ eventType, payload }) => `${eventType.slice(18)} ${(payload as { email: string }).email}`);

it('that is replaced by another hears no more, and the other is reminded of and verified in its own run', async () => {
  const userId = await newUser();
  await test.environment.sleep('1.5 days');
  const changedBy = await changeEmail(service, userId);
  expect(await test.deliver(userId, 'user.email_updated')).toEqual(delivered);
  expect(await test.deliver(userId, 'user.email_updated')).toEqual(delivered);
  expect(await resultOf(userId)).toEqual({ status: 'superseded', reminders: 1 });
  await test.environment.sleep('1 day');
  await verifyEmail(service, userId, newEmail);
  expect(await test.deliver(userId, 'user.email_verified')).toEqual(delivered);
  expect(await resultOf(userId, changedBy)).toMatchObject({ status: 'verified' });
  const [first, ...later] = await saidOf(userId);
  expect(first).toBe(`reminder_due ${email}`);
  expect(new Set(later)).toEqual(new Set([`reminder_due ${newEmail}`]));
});

it('that is replaced just before its end does not expire; the other has its whole time', async () => {
  const userId = await newUser();
  await test.environment.sleep('6.5 days');
  const changedBy = await changeEmail(service, userId);
  expect(await resultOf(userId)).toEqual({ status: 'superseded', reminders: 6 });
  expect(await test.deliver(userId, 'user.email_updated')).toEqual(delivered);
  expect(await resultOf(userId, changedBy)).toEqual({ status: 'expired', reminders: 6 });
  expect((await saidOf(userId)).filter((said) => said.startsWith('expired'))).toEqual([`expired ${newEmail}`]);
});

it('that was verified, was replaced and comes back is verified anew', async () => {
  const userId = await newUser();
  await verifyEmail(service, userId);
  await changeEmail(service, userId);
  const back = await changeEmail(service, userId, email, newEmail);
  expect(await test.deliver(userId, back)).toEqual(delivered);
  expect(await resultOf(userId, back)).toEqual({ status: 'expired', reminders: 6 });
});

it('that is cancelled in Temporal ends at once, with nothing to undo', async () => {
  const userId = await newUser();
  const run = test.environment.client.workflow.getHandle(verifyAddressId(userId));
  await run.cancel();
  await expect(run.result()).rejects.toMatchObject({ cause: { name: 'CancelledFailure' } });
  expect(await eventTypes(service, userId)).toEqual(['user.created']);
});
