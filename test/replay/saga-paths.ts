// Every path whose history is kept: how to drive a service to its end, so that it can be recorded anew.
import { orderSagaId, refundOrderId } from '../../src/domain/saga-contract.ts';
import { callback, eventually, metadata, type SagaService } from '../support/saga-service.ts';

/** @returns the workflow id of the run whose history is the path's */
export type SagaPath = (service: SagaService) => Promise<string>;

async function pendingOrder(service: SagaService): Promise<{ orderId: string; paymentId: string }> {
  const orderId = await service.submit({ paymentMethod: 'pm_pending' });
  const paymentId = await eventually(async () => {
    const row = await service.parts.db
      .selectFrom('payments')
      .select(['payment_id', 'capture_attempts'])
      .where('order_id', '=', orderId)
      .executeTakeFirst();
    return row !== undefined && row.capture_attempts > 0 ? row.payment_id : undefined;
  });
  return { orderId, paymentId };
}

const plain =
  (paymentMethod: string, quantity = 2): SagaPath =>
  async (service) => {
    const orderId = await service.submit({ paymentMethod, items: [{ productId: 'lamp', quantity, price: 1500 }] });
    await service.ended(orderId);
    return orderSagaId(orderId);
  };

const pending =
  (decide: (service: SagaService, order: { orderId: string; paymentId: string }) => Promise<void>): SagaPath =>
  async (service) => {
    const order = await pendingOrder(service);
    await decide(service, order);
    await service.ended(order.orderId);
    return orderSagaId(order.orderId);
  };

export const sagaPaths: Readonly<Record<string, SagaPath>> = {
  confirmed: plain('pm_ok'),
  declined: plain('pm_declined'),
  'out-of-stock': plain('pm_ok', 999),
  'charged-but-answer-lost': plain('pm_timeout'),
  'gateway-flaky': plain('pm_flaky'),
  'pending-then-completed': pending(
    async (service, order) => await callback(service, { ...order, outcome: 'completed' }),
  ),
  'pending-then-failed': pending(async (service, order) => await callback(service, { ...order, outcome: 'failed' })),
  'pending-past-its-deadline': pending(async () => {}),
  'pending-then-cancelled': pending(
    async (service, { orderId }) =>
      void (await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata)),
  ),
  'cancelled-in-temporal': pending(
    async (service, { orderId }) =>
      void (await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).cancel()),
  ),
  'confirmed-then-refunded': async (service) => {
    const orderId = await service.submit();
    await service.ended(orderId);
    await service.commands.cancel(orderId, 'wrong colour', 'customer', metadata);
    await eventually(async () => ((await service.order(orderId)).status === 'cancelled' ? true : undefined));
    return refundOrderId(orderId);
  },
};
