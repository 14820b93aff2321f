// The safety net behind a cancelled order: whoever cancelled it has given the money back, and this sees to it.
import type { EventContext, EventMetadata } from '../domain/event.ts';
import { derivedId } from '../domain/ids.ts';
import type { JobData } from '../domain/job-catalogue.ts';
import { refundOrderId, refundPaymentId } from '../domain/saga-contract.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { RunUnitOfWork } from '../event-store/unit-of-work.ts';
import { loadOrder, type EventSourcedOrderRepository } from '../orders/order-repository.ts';
import { listPayments } from '../payments/ledger-rows.ts';
import { heldBy, type PaymentGateway } from '../payments/payment-gateway.ts';
import type { Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import { unwantedRefund, wasLeftByHand } from '../sagas/refund-routes.ts';
import type { SagaStarts } from '../sagas/saga-starts.ts';

export type RefundJobDeps = Readonly<{
  db: Db;
  store: EventStore;
  unitOfWork: RunUnitOfWork;
  orderRepository: EventSourcedOrderRepository;
  gateway: PaymentGateway;
  starts: Pick<SagaStarts, 'find'>;
  logger: Logger;
}>;

type RefundJob = Readonly<{ data: JobData<'refund'>; metadata: EventMetadata }>;

/**
 * Where money is held for the order and nobody is at it, `order.refund_due` is appended, whose route starts the refund. So
 * nothing here needs Temporal, and a start is as idempotent as any. Ended between the look and the append, or after it,
 * the job is run again and finds the event; what is given back meanwhile leaves that run nothing to do.
 * @throws UnavailableError, ConflictError: the job is tried again
 * @throws DomainError where the order is not cancelled: nobody had reason to ask for this
 */
export const createRefundJob =
  (deps: RefundJobDeps) =>
  async ({ data: { orderId }, metadata }: RefundJob): Promise<void> => {
    const { logger, starts } = deps;
    const held = await heldWithoutReason(deps, metadata.tenantId, orderId);
    if (held === 0) return;
    if ((await starts.find(refundOrderId(orderId))) !== undefined) {
      // A run under way gives it back. One that has ended cannot be started twice: then `reconcile` tells, and mends.
      logger.warn({ orderId, held }, 'money is held for a cancelled order whose refund was started before');
      return;
    }
    await markDue(deps, orderId, metadata);
    logger.warn({ orderId, held }, 'money is held for a cancelled order; its refund is due');
  };

/** Minor units. Not counted: what an operator has left, and what a run of its own gives back that came too late. */
async function heldWithoutReason(
  { db, store, gateway, starts }: RefundJobDeps,
  tenantId: string,
  orderId: string,
): Promise<number> {
  let sum = 0;
  for (const { paymentId } of await listPayments(db, tenantId, orderId)) {
    const held = heldBy(await gateway.get(paymentId));
    if (held === 0 || (await wasLeftByHand(store, orderId, paymentId))) continue;
    if ((await starts.find(refundPaymentId(paymentId, unwantedRefund))) !== undefined) continue;
    sum += held;
  }
  return sum;
}

async function markDue(
  { unitOfWork, orderRepository }: RefundJobDeps,
  orderId: string,
  metadata: EventMetadata,
): Promise<void> {
  const context: EventContext = {
    metadata,
    nextEventId: () => derivedId('event', 'order.refund_due', orderId),
    now: () => new Date(),
  };
  await unitOfWork(async (unit) => {
    const order = await loadOrder(orderRepository, orderId, context, unit);
    order.markRefundDue();
    await orderRepository.save(order, unit);
  });
}
