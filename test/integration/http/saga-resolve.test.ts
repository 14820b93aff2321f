import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sagaStreamId } from '../../../src/domain/ids.ts';
import { orderSagaId, refundOrderId } from '../../../src/domain/saga-contract.ts';
import { expectInvalid, expectProblem, makeOrder, startApi, submitOrder, type Api, type Reply } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

const resolve = async (
  orderId: string,
  body: Readonly<Record<string, unknown>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<Reply> => await api.call('POST', `/orders/${orderId}/saga/resolve`, { body, headers });
const settled = { step: 'charge', action: 'settled', reference: 'bank transfer 4711' };

/** As a worker leaves it. */
async function park(workflowId: string, step: string, byHand: boolean): Promise<void> {
  const row = {
    workflow_id: workflowId,
    step,
    state: 'parked',
    error: 'no',
    undoing: byHand,
    by_hand: byHand,
  } as const;
  await api.db.insertInto('saga_steps').values(row).execute();
}
async function parkedOrder(step = 'charge', byHand = true): Promise<string> {
  const orderId = await submitOrder(api);
  await park(orderSagaId(orderId), step, byHand);
  return orderId;
}
const end = async (orderId: string, status: 'confirmed' | 'cancelled'): Promise<void> => {
  await api.db.updateTable('orders').set({ status }).where('order_id', '=', orderId).execute();
};
const requests = async (workflowId: string) => await api.deps.store.getEvents(sagaStreamId(workflowId));

describe('POST /orders/{id}/saga/resolve', () => {
  test('takes an operator’s word as an event of the saga, without asking Temporal', async () => {
    const orderId = await parkedOrder();
    const headers = { 'X-Correlation-Id': 'resolve-1' };
    const reply = await resolve(orderId, { ...settled, resolvedBy: 'ada' }, headers);
    const workflowId = orderSagaId(orderId);
    expect([reply.status, reply.body]).toEqual([202, { orderId, workflowId, step: 'charge', action: 'settled' }]);
    expect(await requests(workflowId)).toMatchObject([
      {
        eventType: 'saga.resolution_requested',
        payload: { orderId, workflowId, ...settled, resolvedBy: 'ada' },
        metadata: { tenantId: 'default', correlationId: 'resolve-1' },
      },
    ]);
  });

  test('of the refund goes to the saga that has the step', async () => {
    const orderId = await submitOrder(api);
    await end(orderId, 'confirmed');
    expectProblem(await resolve(orderId, { ...settled, step: 'refund' }), 409, 'saga-ended', 'status');
    const workflowId = refundOrderId(orderId);
    const start = { workflow_id: workflowId, aggregate_id: orderId, event_id: sagaStreamId(orderId), run_id: null };
    await api.db
      .insertInto('saga_starts')
      .values({ ...start, state: 'starting', started_at: null })
      .execute();
    await park(workflowId, 'refund', true);
    expect(await resolve(orderId, { ...settled, step: 'refund' })).toMatchObject({ status: 202, body: { workflowId } });
    expect(await requests(workflowId)).toHaveLength(1);
  });

  test.each([['skip'], ['settled']])('%s without a reference is 422, naming the field', async (action) => {
    const orderId = await parkedOrder();
    expectProblem(await resolve(orderId, { step: 'charge', action }), 422, 'reference-missing', 'reference');
    expect(await requests(orderSagaId(orderId))).toEqual([]);
  });

  test.each([['reserve'], ['nonsense']])('of %s, which is not parked, is 409', async (step) => {
    const orderId = await parkedOrder();
    expectProblem(await resolve(orderId, { ...settled, step }), 409, 'step-not-parked', 'step');
  });

  test('of a step whose outcome is needed takes retry only', async () => {
    const orderId = await parkedOrder('confirm', false);
    expectProblem(await resolve(orderId, { ...settled, step: 'confirm' }), 409, 'action-not-possible', 'action');
    expect(await resolve(orderId, { step: 'confirm', action: 'retry' })).toMatchObject({ status: 202 });
  });

  test('of a saga that has ended is 409, of a draft and of another tenant’s order 404', async () => {
    const orderId = await parkedOrder();
    expectProblem(await resolve(orderId, settled, { 'X-Tenant-Id': 'other' }), 404, 'order-not-found', 'orderId');
    await end(orderId, 'cancelled');
    expectProblem(await resolve(orderId, settled), 409, 'saga-ended', 'status');
    expectProblem(await resolve(await makeOrder(api), settled), 404, 'saga-not-found');
  });

  test.each([
    [{ action: 'retry' }, 'step'],
    [{ ...settled, action: 'forget' }, 'action'],
    [{ ...settled, reference: ' ' }, 'reference'],
    [{ ...settled, reference: 'x'.repeat(201) }, 'reference'],
    [{ ...settled, why: 'because' }, 'why'],
  ])('%j is refused, naming %s', async (body, field) => {
    expectInvalid(await resolve(await parkedOrder(), body), field);
  });

  test('with an Idempotency-Key is stored once, also when its answer was lost and the step has gone on', async () => {
    const orderId = await parkedOrder();
    const headers = { 'Idempotency-Key': 'resolve' };
    const first = await resolve(orderId, settled, headers);
    expect((await resolve(orderId, settled, headers)).text).toBe(first.text);
    // A process that died between the commit and the answer leaves this behind.
    await api.db
      .updateTable('idempotency_keys')
      .set({ status: null, headers: null, body: null })
      .where('key', '=', 'resolve')
      .execute();
    await end(orderId, 'cancelled');
    const again = await resolve(orderId, settled, headers);
    expect([again.status, again.text]).toEqual([202, first.text]);
    expect(await requests(orderSagaId(orderId))).toHaveLength(1);
  });
});
