// A parked step heals by itself, at the pace of the defaults: minutes, on the time-skipping server.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { UnavailableError } from '../../src/domain/errors.ts';
import { orderSagaId } from '../../src/domain/saga-contract.ts';
import { sagaView } from '../support/parked.ts';
import { startSkippingService, type SkippingService } from '../support/time-skipping.ts';

let skipping: SkippingService;
beforeAll(async () => {
  // No limits of parking: the defaults, as a saga has them that was started before there were any.
  skipping = await startSkippingService({ paymentDeadlineSeconds: 60, stepLimitSeconds: 60 });
  await skipping.service.stock(5);
});
afterAll(async () => await skipping.stop());

it('a parked undo is tried once a minute, does not grow the history, and ends the saga when it works', async () => {
  const { environment, service } = skipping;
  const { faults, parts } = service;
  const states = new Set<string>();
  const slowlyTried = 20;
  let slow = 0;
  faults.refund = async () => {
    const orders = await parts.db.selectFrom('orders').select('order_id').executeTakeFirstOrThrow();
    const { status } = await sagaView(service, orders.order_id);
    states.add(status);
    if (status === 'NeedsAttention') slow += 1;
    if (slow <= slowlyTried) throw new UnavailableError('the gateway is away');
  };
  // The order is cancelled by the time that it is charged.
  faults.afterCapture = async () => {
    const { order_id: orderId } = await parts.db.selectFrom('orders').select('order_id').executeTakeFirstOrThrow();
    await service.commands.cancel(orderId, 'too slow', 'customer', { tenantId: 'default' });
  };
  const orderId = await service.submit();
  const before = await environment.currentTimeMs();
  await skipping.deliver(orderId, 'order.submitted');
  expect(await environment.client.workflow.result(orderSagaId(orderId))).toMatchObject({ status: 'cancelled' });

  expect((await environment.currentTimeMs()) - before).toBeGreaterThanOrEqual((100 + slowlyTried * 60) * 1000);
  expect([...states]).toEqual(['Compensating', 'NeedsAttention']);
  expect(await service.ledger(orderId)).toEqual({ onHand: 5, reserved: 0, net: 0, captures: 1, refunds: 1 });
  const { events } = await environment.client.workflow.getHandle(orderSagaId(orderId)).fetchHistory();
  expect(events?.length).toBeLessThan(80);
});
