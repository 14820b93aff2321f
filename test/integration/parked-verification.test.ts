// A reminder that does not get through, on the real Temporal server: parked, seen, and ended by an operator.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sagaStreamId } from '../../src/domain/ids.ts';
import { verifyAddressId } from '../../src/domain/user-verification.ts';
import { createSagaResolutions, type ResolutionRequest } from '../../src/sagas/saga-resolutions.ts';
import { createSagaViews } from '../../src/sagas/saga-view.ts';
import { findVerification, type VerificationView } from '../../src/sagas/verification-runs.ts';
import { detailsOf, parksAtOnce } from '../support/parked.ts';
import { eventTypes, eventually, metadata, startSagaService, type SagaService } from '../support/saga-service.ts';
import { parkedReminder, verifyEmail } from '../support/users.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ environment: { ...parksAtOnce, VERIFICATION_REMINDER_SECONDS: '1' } });
});
afterAll(async () => await service.stop());

async function verificationOf(userId: string): Promise<VerificationView> {
  const { db, temporal: client, store } = service.parts;
  const sagaViews = createSagaViews({ db, client, uiUrl: 'http://ui', namespace: 'default' });
  const view = await findVerification({ store, sagaViews }, userId);
  if (view === undefined) throw new Error(`the user ${userId} has no verification`);
  return view;
}

/** What POST /users/{id}/verification/resolve does. */
const resolve = async (userId: string, word: Pick<ResolutionRequest, 'action' | 'reference'>): Promise<unknown> =>
  await createSagaResolutions(service.parts).requestForUser(
    { userId },
    { ...word, step: 'remind', resolvedBy: 'ada' },
    metadata,
  );
const remindersOf = async (userId: string): Promise<readonly unknown[]> =>
  (await service.parts.store.getEvents(userId))
    .filter(({ eventType }) => eventType === 'user.verification_reminder_due')
    .map(({ payload }) => (payload as { reminder: number }).reminder);
const untilReminded = async (userId: string): Promise<unknown> =>
  await eventually(async () => (await remindersOf(userId))[0]);

async function verified(userId: string): Promise<unknown> {
  await verifyEmail(service, userId);
  return (await service.parts.temporal.workflow.result(verifyAddressId(userId))) as unknown;
}

it('A reminder that keeps failing is parked for all to see, and skipped, the next one is said and the address verified', async () => {
  const userId = await parkedReminder(service);
  const workflowId = verifyAddressId(userId);
  expect(await verificationOf(userId)).toMatchObject({
    status: 'pending',
    reminders: 0,
    saga: {
      workflowId,
      status: 'NeedsAttention',
      steps: [
        { name: 'remind', state: 'parked', error: 'no way to say so', actions: ['retry', 'skip', 'settled'] },
        { name: 'expire', state: 'pending' },
      ],
    },
  });
  expect(await detailsOf(service, workflowId)).toContain('no way to say so');

  await resolve(userId, { action: 'skip', reference: 'ticket 4711' });
  const stream = await eventually(async () => {
    const types = await eventTypes(service, sagaStreamId(workflowId));
    return types.length === 2 ? types : undefined;
  });
  expect(stream).toEqual(['saga.resolution_requested', 'saga.resolution_applied']);
  // The first is the one that was skipped.
  expect(await untilReminded(userId)).toBe(2);
  expect(await verified(userId)).toMatchObject({ status: 'verified' });
  expect((await verificationOf(userId)).saga.status).toBe('Confirmed');
});

it('A parked reminder whose cause is mended is said once an operator has it tried again', async () => {
  const userId = await parkedReminder(service);
  await resolve(userId, { action: 'retry', reference: undefined });
  expect(await untilReminded(userId)).toBe(1);
  expect(await verified(userId)).toMatchObject({ status: 'verified' });
});
