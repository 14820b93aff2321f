import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { newId, sagaStreamId } from '../../../src/domain/ids.ts';
import { verifyAddressId } from '../../../src/domain/user-verification.ts';
import { expectProblem, startApi, type Api, type Call, type Reply } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

let count = 0;
async function makeUser(): Promise<string> {
  count += 1;
  const made = await api.call('POST', '/users', { body: { email: `ada${count}@example.com` } });
  return z.object({ userId: z.string() }).parse(made.body).userId;
}
async function park(workflowId: string, byHand = true): Promise<void> {
  const row = { workflow_id: workflowId, step: 'remind', state: 'parked', error: 'no', by_hand: byHand } as const;
  await api.db.insertInto('saga_steps').values(row).execute();
}
async function parkedUser(): Promise<string> {
  const userId = await makeUser();
  await park(verifyAddressId(userId));
  return userId;
}
const skip = { step: 'remind', action: 'skip', reference: 'ticket 4711', resolvedBy: 'ada' };
const resolve = async (userId: string, body: Call['body'] = skip, headers: Call['headers'] = {}): Promise<Reply> =>
  await api.call('POST', `/users/${userId}/verification/resolve`, { body, headers });
const get = async (userId: string, headers: Call['headers'] = {}): Promise<Reply> =>
  await api.call('GET', `/users/${userId}/verification`, { headers });
const requests = async (workflowId: string) => await api.deps.store.getEvents(sagaStreamId(workflowId));
const happened = async (
  userId: string,
  eventType: 'user.email_verified' | 'user.verification_expired',
  email: string,
) =>
  await api.deps.store.append({
    eventId: newId(),
    eventType,
    occurredAt: new Date(),
    aggregateId: userId,
    aggregateType: 'user',
    payload: { userId, email },
    metadata: { tenantId: 'default', correlationId: 'test' },
  });
const other = { 'X-Tenant-Id': 'other' };

describe('GET /users/{id}/verification', () => {
  test('says how far the address of today is, and which saga it has', async () => {
    const userId = await makeUser();
    const { email } = z.object({ email: z.string() }).parse((await api.call('GET', `/users/${userId}`)).body);
    const workflowId = verifyAddressId(userId);
    const pending = { userId, email, status: 'pending', reminders: 0, saga: { workflowId, status: 'Running' } };
    expect(await get(userId)).toMatchObject({ status: 200, body: pending });
    await happened(userId, 'user.email_verified', email);
    expect((await get(userId)).body).toMatchObject({ status: 'verified', saga: { status: 'Confirmed' } });
    const newEmail = `new-${email}`;
    await api.call('PATCH', `/users/${userId}`, { body: { email: newEmail } });
    const changed = (await api.deps.store.getEvents(userId)).at(-1)?.eventId;
    expect((await get(userId)).body).toMatchObject({
      email: newEmail,
      status: 'pending',
      saga: { workflowId: verifyAddressId(userId, changed) },
    });
    await happened(userId, 'user.verification_expired', newEmail);
    expect((await get(userId)).body).toMatchObject({ status: 'expired', saga: { status: 'Failed' } });
  });

  test('of a user of another tenant, or of none, is 404', async () => {
    expectProblem(await get(await makeUser(), other), 404, 'user-not-found', 'userId');
    expectProblem(await get('nobody'), 404, 'user-not-found', 'userId');
  });
});

describe('POST /users/{id}/verification/resolve', () => {
  test('takes an operator’s word as an event of the saga that has the step, also of an address of before', async () => {
    const userId = await parkedUser();
    await api.call('PATCH', `/users/${userId}`, { body: { email: `next-${userId}@example.com` } });
    const workflowId = verifyAddressId(userId);
    const reply = await resolve(userId);
    expect([reply.status, reply.body]).toEqual([202, { userId, workflowId, step: 'remind', action: 'skip' }]);
    expect(await requests(workflowId)).toMatchObject([
      { eventType: 'saga.resolution_requested', payload: { orderId: null, workflowId, ...skip } },
    ]);
  });

  test('sent again with its key is one word', async () => {
    const userId = await parkedUser();
    const headers = { 'Idempotency-Key': 'word-1' };
    const [first, second] = [await resolve(userId, skip, headers), await resolve(userId, skip, headers)];
    expect([first.status, second.status, second.body]).toEqual([202, 202, first.body]);
    expect(await requests(verifyAddressId(userId))).toHaveLength(1);
  });

  test('is refused where there is nothing to decide, nothing to look at, or nobody to decide about', async () => {
    const userId = await makeUser();
    expectProblem(await resolve(userId), 409, 'step-not-parked', 'step');
    expectProblem(await resolve(userId, { step: 'remind', action: 'skip' }), 422, 'reference-missing', 'reference');
    await park(verifyAddressId(userId), false);
    expectProblem(await resolve(userId), 409, 'action-not-possible', 'action');
    expectProblem(await resolve(userId, skip, other), 404, 'user-not-found', 'userId');
    expect(await requests(verifyAddressId(userId))).toEqual([]);
  });
});
