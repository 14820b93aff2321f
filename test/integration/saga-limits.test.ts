// What becomes of a saga whose steps get no answer, whose run is cancelled at a bad moment, or is gone.
import { randomUUID } from 'node:crypto';
import type { Client } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { UnavailableError } from '../../src/domain/errors.ts';
import { orderSagaId, refundOrderId, sagaSearchAttributes } from '../../src/domain/saga-contract.ts';
import { delivered } from '../../src/outbox/delivery.ts';
import { ensureSearchAttributes } from '../../src/platform/search-attributes.ts';
import { connectTemporal } from '../../src/platform/temporal-client.ts';
import { createSagaClient } from '../../src/sagas/saga-client.ts';
import { createSagaRouter } from '../../src/sagas/saga-router.ts';
import { createSagaStarts } from '../../src/sagas/saga-starts.ts';
import { submitAndCancelWhenCharged } from '../support/parked.ts';
import {
  createHold,
  eventually,
  metadata,
  startSagaService,
  stepsOf,
  untilPending,
  type SagaService,
} from '../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ environment: { STEP_LIMIT_SECONDS: '2' } });
});
beforeEach(async () => await service.stock(5));
afterEach(() => {
  for (const name of ['unitOfWork', 'prepare', 'capture', 'afterCapture', 'refund', 'get'] as const)
    delete service.faults[name];
});
afterAll(async () => await service.stop());

const run = (orderId: string) => service.parts.temporal.workflow.getHandle(orderSagaId(orderId));
const nothingHeld = { onHand: 5, reserved: 0, net: 0 };
const noAnswer = async (): Promise<never> => {
  throw new UnavailableError('no answer', { outcomeUnknown: true });
};
const cancellationDelivery = async (orderId: string) =>
  await service.parts.db
    .selectFrom('outbox')
    .select(['state', 'last_error'])
    .where('aggregate_id', '=', orderId)
    .where('event_type', '=', 'order.cancellation_requested')
    .where('destination', '=', 'temporal')
    .executeTakeFirstOrThrow();
const paymentStatus = async (orderId: string): Promise<string> =>
  (
    await service.parts.db
      .selectFrom('payments')
      .select('status')
      .where('order_id', '=', orderId)
      .executeTakeFirstOrThrow()
  ).status;

describe('a step that gets no answer until its limit', () => {
  it('is given up on: the order fails and nothing stays reserved', async () => {
    service.faults.unitOfWork = async () => {
      throw new Error('the database is in a bad mood');
    };
    const orderId = await service.submit();
    await untilPending(service, orderSagaId(orderId), 'releaseInventory');
    delete service.faults.unitOfWork;
    expect(await service.ended(orderId)).toMatchObject({
      status: 'failed',
      failureReason: expect.stringMatching(/^step-limit-exceeded: .*bad mood/) as string,
    });
    expect(await service.ledger(orderId)).toMatchObject(nothingHeld);
  });

  it('and that is the charge, never captured: it is voided for good before the order fails', async () => {
    service.faults.capture = noAnswer;
    const orderId = await service.submit();
    expect(await service.ended(orderId)).toMatchObject({
      status: 'failed',
      failureReason: expect.stringMatching(/^payment-unavailable: /) as string,
    });
    delete service.faults.capture;
    expect(await paymentStatus(orderId)).toBe('voided');
    const { payment_id: paymentId } = await service.parts.db
      .selectFrom('payments')
      .select('payment_id')
      .where('order_id', '=', orderId)
      .executeTakeFirstOrThrow();
    // The capture that was lost on its way arrives now.
    expect(await service.parts.gateway.capture(paymentId)).toMatchObject({ status: 'voided' });
    expect(await service.ledger(orderId)).toMatchObject({ ...nothingHeld, captures: 0 });
  });

  it('and that is the charge, captured with every answer lost: the gateway’s word is taken and the order confirmed', async () => {
    service.faults.afterCapture = async () => {
      // From here on nothing is heard of the gateway.
      service.faults.prepare = noAnswer;
      service.faults.get = noAnswer;
      await noAnswer();
    };
    const orderId = await service.submit();
    await untilPending(service, orderSagaId(orderId), 'settlePayment');
    delete service.faults.prepare;
    delete service.faults.get;
    expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
    expect(await service.ledger(orderId)).toMatchObject({ onHand: 3, reserved: 0, net: 3000, captures: 1, refunds: 0 });
  });
});

describe('a cancellation in Temporal', () => {
  it('while an attempt to reserve runs that then fails ends the order as cancelled, and the run too', async () => {
    const hold = createHold();
    service.faults.unitOfWork = async () => {
      delete service.faults.unitOfWork;
      await hold.wait();
      throw new Error('and now it fails');
    };
    const orderId = await service.submit();
    await hold.reached;
    await run(orderId).cancel();
    hold.release();
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    await expect(run(orderId).result()).rejects.toThrow();
    expect((await run(orderId).describe()).status.name).toBe('CANCELLED');
    expect(await service.ledger(orderId)).toMatchObject({ ...nothingHeld, captures: 0 });
  });

  it('of a refund that has begun does not leave it half done', async () => {
    const orderId = await service.submit();
    await service.ended(orderId);
    const hold = createHold();
    service.faults.refund = hold.wait;
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await hold.reached;
    const refund = service.parts.temporal.workflow.getHandle(refundOrderId(orderId));
    await refund.cancel();
    hold.release();
    expect(await refund.result()).toEqual({ status: 'cancelled' });
    expect(await service.order(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, captures: 1, refunds: 1 });
  });
});

describe('a cancellation of the order', () => {
  it('after the charge refunds it once, and then releases the stock', async () => {
    const orderId = await submitAndCancelWhenCharged(service);
    expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
    expect(await service.ledger(orderId)).toEqual({ ...nothingHeld, captures: 1, refunds: 1 });
    expect(await stepsOf(service, orderId)).toEqual({ reserve: 'undone', charge: 'undone', end: 'done' });
  });

  it('whose run was terminated is not dropped in silence: its delivery says what is wrong', async () => {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    await eventually(async () => ((await stepsOf(service, orderId))['charge'] === 'running' ? true : undefined));
    await eventually(async () => {
      const start = await service.parts.db
        .selectFrom('saga_starts')
        .select('state')
        .where('workflow_id', '=', orderSagaId(orderId))
        .executeTakeFirst();
      return start?.state === 'started' ? true : undefined;
    });
    await run(orderId).terminate('an operator’s last resort');
    await service.commands.cancel(orderId, 'where is it?', 'customer', metadata);
    const delivery = await eventually(async () => {
      const row = await cancellationDelivery(orderId);
      return row.last_error === null ? undefined : row;
    });
    expect(delivery.last_error).toMatch(/is gone \(terminated, or lost\), and the order has not ended/);
    expect(delivery.state).not.toBe('done');
  });
});

describe('an order whose run Temporal has forgotten', () => {
  it('gets no second saga when its event is delivered again', async () => {
    // A terminated run above has left its reservation behind, as terminated runs do.
    await service.stock(50);
    const orderId = await service.submit();
    await service.ended(orderId);
    const another = await service.submit({ paymentMethod: 'pm_pending' });

    // A namespace that never heard of it: after the retention Temporal knows no more. (The dev server takes minutes
    // to delete a run.)
    const forgetful = await otherNamespace(service);
    const { store, db, settings } = service.parts;
    const deliver = createSagaRouter({
      client: createSagaClient({ client: forgetful, taskQueue: settings.temporalTaskQueue }),
      starts: createSagaStarts(db),
      store,
      limits: { stepLimitSeconds: 2, paymentDeadlineSeconds: 2 },
      verification: { reminderSeconds: 1, expirySeconds: 2 },
      heldOf: async () => 0,
    });
    const again = async (id: string) => {
      const event = (await store.getEvents(id)).find(({ eventType }) => eventType === 'order.submitted');
      if (event === undefined) throw new Error('the order was not submitted');
      return await deliver({ event, attempts: 1, redelivered: true });
    };
    expect(await again(orderId)).toEqual(delivered);
    await expect(forgetful.workflow.getHandle(orderSagaId(orderId)).describe()).rejects.toThrow(/not found/);

    // That a start would have worked there is what makes the above mean something.
    await eventually(async () => ((await stepsOf(service, another))['charge'] === 'running' ? true : undefined));
    await db.deleteFrom('saga_starts').where('workflow_id', '=', orderSagaId(another)).execute();
    expect(await again(another)).toEqual(delivered);
    const started = forgetful.workflow.getHandle(orderSagaId(another));
    expect((await started.describe()).status.name).toBe('RUNNING');
    await started.terminate();
    await service.commands.cancel(another, 'enough', 'customer', metadata);
    await service.ended(another);
    await forgetful.connection.close();
  });
});

/** A namespace of the same server, with our search attributes. */
async function otherNamespace({ parts }: SagaService): Promise<Client> {
  const namespace = `forgetful-${randomUUID()}`;
  await parts.temporal.workflowService.registerNamespace({
    namespace,
    workflowExecutionRetentionPeriod: msToTs('1 day'),
  });
  const client = connectTemporal({ address: parts.settings.temporalAddress ?? '', namespace });
  await eventually(
    async () =>
      await ensureSearchAttributes(client, namespace, sagaSearchAttributes).then(
        () => true,
        () => undefined,
      ),
  );
  return client;
}
