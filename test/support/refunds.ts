// A refund as the HTTP route asks for it.
import { newId } from '../../src/domain/ids.ts';
import { refundPaymentId } from '../../src/domain/saga-contract.ts';
import { availableForRefund } from '../../src/payments/available-for-refund.ts';
import { metadata, type SagaService } from './saga-service.ts';

export type PaidOrder = Readonly<{ orderId: string; paymentId: string }>;

export async function confirmedOrder(service: SagaService): Promise<PaidOrder> {
  const orderId = await service.submit();
  const { status, paymentId } = await service.ended(orderId);
  if (status !== 'confirmed' || paymentId === undefined) throw new Error(`the order is ${status}`);
  return { orderId, paymentId };
}

/** @returns the id of the workflow that does it */
export async function requestRefund(
  { commands, parts }: SagaService,
  { orderId, paymentId }: PaidOrder,
  { amount, restock = false }: Readonly<{ amount?: number; restock?: boolean }> = {},
): Promise<string> {
  const refundId = newId();
  await commands.requestRefund(
    orderId,
    { refundId, amount, restock, reason: 'broken', requestedBy: 'customer' },
    async ({ refunds }) => await availableForRefund(parts, paymentId, refunds),
    metadata,
  );
  return refundPaymentId(paymentId, refundId);
}

/** A payment that is not the saga's own, of an order that may not be there. @returns its id */
export async function payFor(
  { parts: { gateway } }: SagaService,
  {
    orderId = newId(),
    amount = 3000,
    method = 'pm_ok',
  }: Readonly<{ orderId?: string; amount?: number; method?: string }>,
): Promise<string> {
  const of = { key: newId(), tenantId: 'default', orderId, amount, currency: 'EUR', method };
  return (await gateway.capture((await gateway.prepare(of)).paymentId)).paymentId;
}

/** One for which the gateway takes the callback whatever became of the order. */
export const anotherPayment = async (service: SagaService, orderId: string): Promise<string> =>
  await payFor(service, { orderId, method: 'pm_pending' });

/** The refund of money that nobody wanted any more. */
export const unwantedRefundId = (paymentId: string): string => refundPaymentId(paymentId, 'unwanted');
