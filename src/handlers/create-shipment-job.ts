// The goods of a confirmed order leave, once; of one that is not to be fulfilled any more they stay.
import type { CatalogueEvent } from '../domain/catalogue.ts';
import { UnavailableError } from '../domain/errors.ts';
import type { EventMetadata, StoredEvent } from '../domain/event.ts';
import { commandContext } from '../domain/ids.ts';
import type { JobData } from '../domain/job-catalogue.ts';
import type { OrderState } from '../domain/order-state.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { FulfilmentService } from '../fulfilment/fulfilment-service.ts';
import { loadOrder, type EventSourcedOrderRepository } from '../orders/order-repository.ts';
import { refundEventId } from '../payments/available-for-refund.ts';
import type { Logger } from '../platform/logger.ts';

export type CreateShipmentJobDeps = Readonly<{
  store: EventStore;
  orderRepository: EventSourcedOrderRepository;
  fulfilmentService: FulfilmentService;
  logger: Logger;
}>;

type CreateShipmentJob = Readonly<{ data: JobData<'create-shipment'>; metadata: EventMetadata }>;

/**
 * The order is looked up, since it may have changed since its confirmation. A cancellation that is asked for after this
 * look does not stop the goods: money and stock go back all the same, and the parcel has to be got back by people. Ended
 * at any point, the job is run again, and the key makes a second call harmless.
 * @throws UnavailableError: the job is tried again, also where a refund that would put the goods back has no answer yet
 */
export const createShipmentJob =
  ({ store, orderRepository, fulfilmentService, logger }: CreateShipmentJobDeps) =>
  async ({ data: { orderId }, metadata }: CreateShipmentJob): Promise<void> => {
    const { state } = await loadOrder(orderRepository, orderId, commandContext(metadata));
    const reason = await reasonToKeep(store, state);
    if (reason !== undefined) {
      logger.info({ orderId, reason }, 'the order is not shipped');
      return;
    }
    const items = state.items.map(({ productId, quantity }) => ({ productId, quantity }));
    const idempotencyKey = `shipment-${orderId}`;
    await fulfilmentService.createShipment({ tenantId: state.tenantId, orderId, items, idempotencyKey });
  };

/** Money that goes back alone is no reason: who asks for that says by `restock` whether the goods do as well. */
async function reasonToKeep(
  store: EventStore,
  { status, cancellation, refunds, paymentId = '' }: OrderState,
): Promise<string | undefined> {
  if (status !== 'confirmed') return `it is ${status}`;
  if (cancellation !== undefined) return 'its cancellation was asked for';
  const restocking = refunds.filter(({ restock }) => restock);
  if (restocking.length === 0) return undefined;
  // What the gateway has refused puts no goods back.
  const payment = (await store.getEvents(paymentId)) as readonly StoredEvent<CatalogueEvent>[];
  const refused = new Set(
    payment.map((event) => (event.eventType === 'payment.refund_failed' ? event.payload.refundId : undefined)),
  );
  const worked = new Set(payment.map(({ eventId }) => eventId));
  const open = restocking.filter(({ refundId }) => !refused.has(refundId));
  if (open.some(({ refundId }) => worked.has(refundEventId(paymentId, refundId))))
    return 'its goods go back to the stock';
  if (open.length > 0) throw new UnavailableError('a refund that puts the goods back has no answer yet');
  return undefined;
}
