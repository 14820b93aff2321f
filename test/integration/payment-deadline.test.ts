// The deadline of a pending payment, on the time-skipping server: quarter of an hour in a moment, nothing else faked.
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { orderSagaId, sagaSearchAttributes } from '../../src/domain/saga-contract.ts';
import { delivered } from '../../src/outbox/delivery.ts';
import { createSagaClient } from '../../src/sagas/saga-client.ts';
import { createSagaRouter } from '../../src/sagas/saga-router.ts';
import { createSagaStarts } from '../../src/sagas/saga-starts.ts';
import {
  callback,
  eventTypes,
  installRuntimeOnce,
  startSagaService,
  type SagaService,
} from '../support/saga-service.ts';
import { startTimeSkipping, type TimeSkipping } from '../support/time-skipping.ts';

const limits = { paymentDeadlineSeconds: 900, stepLimitSeconds: 900 };
/** temporal.api.enums.v1.IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD */
const keyword = 2;
let server: TimeSkipping;
let environment: TestWorkflowEnvironment;
let service: SagaService;

beforeAll(async () => {
  installRuntimeOnce();
  server = await startTimeSkipping();
  environment = server.environment;
  // This server can add search attributes but not list them, so the boot check of the service does not run on it.
  await environment.connection.operatorService.addSearchAttributes({
    namespace: 'default',
    searchAttributes: Object.fromEntries(sagaSearchAttributes.map((name) => [name, keyword])),
  });
  service = await startSagaService({ relay: false, environment: { TEMPORAL_ADDRESS: environment.address } });
  await service.stock(5);
});
afterAll(async () => {
  await service.stop();
  await server.tearDown();
});

/** What the relay does with order.submitted, on the time-skipping client. */
async function startSaga(orderId: string): Promise<void> {
  const { store, db, settings } = service.parts;
  const client = createSagaClient({ client: environment.client, taskQueue: settings.temporalTaskQueue });
  const route = createSagaRouter({ client, starts: createSagaStarts(db), store, limits, heldOf: async () => 0 });
  const event = (await store.getEvents(orderId)).find(({ eventType }) => eventType === 'order.submitted');
  if (event === undefined) throw new Error('the order was not submitted');
  expect(await route({ event, attempts: 1, redelivered: false })).toEqual(delivered);
}

const paymentOf = async (orderId: string) =>
  await service.parts.db
    .selectFrom('payments')
    .select(['payment_id', 'status'])
    .where('order_id', '=', orderId)
    .executeTakeFirstOrThrow();

describe('a payment that stays pending', () => {
  it('is voided at its deadline, the order fails, and a callback that comes after it moves nothing', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    await startSaga(orderId);
    const before = await environment.currentTimeMs();
    await expect(environment.client.workflow.result(orderSagaId(orderId))).rejects.toMatchObject({
      cause: { type: 'payment-deadline-passed' },
    });
    expect((await environment.currentTimeMs()) - before).toBeGreaterThanOrEqual(900_000);
    expect(await service.order(orderId)).toMatchObject({
      status: 'failed',
      failureReason: expect.stringMatching(/^payment-deadline-passed/) as string,
    });
    const { payment_id: paymentId, status } = await paymentOf(orderId);
    expect(status).toBe('voided');
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    expect(await service.ledger(orderId)).toEqual({ onHand: 5, reserved: 0, net: 0, captures: 0, refunds: 0 });
    expect(await eventTypes(service, paymentId)).toEqual(['payment.voided', 'payment.callback_received']);
  });
});
