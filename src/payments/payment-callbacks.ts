// The gateway's callbacks: the payment's row and the event that says so, in one transaction. Who called is checked
// before, by signature; what becomes of the order is the saga's, which gets the event as a signal.
import type { EventOf } from '../domain/catalogue.ts';
import { DomainError } from '../domain/errors.ts';
import type { EventMetadata } from '../domain/event.ts';
import { derivedId, isId } from '../domain/ids.ts';
import type { RunUnitOfWork } from '../event-store/unit-of-work.ts';
import type { PaymentCallback, PaymentGateway } from './payment-gateway.ts';

export type PaymentCallbacks = Readonly<{
  /**
   * The same `callbackId` again is a success and changes nothing.
   * @throws DomainError `payment-not-found`, `payment-mismatch`; ConflictError where the id came with other content
   */
  receive(callbackId: string, callback: PaymentCallback, metadata: Omit<EventMetadata, 'tenantId'>): Promise<void>;
}>;

export function createPaymentCallbacks(
  deps: Readonly<{ unitOfWork: RunUnitOfWork; gateway: PaymentGateway }>,
): PaymentCallbacks {
  const { unitOfWork, gateway } = deps;
  return {
    async receive(callbackId, callback, metadata) {
      if (!isId(callback.paymentId)) {
        throw new DomainError('payment-not-found', `there is no payment ${callback.paymentId}`, 'paymentId');
      }
      await unitOfWork(async (unit) => {
        const { paymentId, orderId, tenantId } = await gateway.acceptCallback(unit.tx, callback);
        const event: EventOf<'payment.callback_received'> = {
          eventId: derivedId('payment-callback', callbackId),
          eventType: 'payment.callback_received',
          occurredAt: new Date(),
          aggregateId: paymentId,
          aggregateType: 'payment',
          payload: { paymentId, orderId, outcome: callback.outcome, callbackId },
          metadata: { ...metadata, tenantId },
        };
        await unit.append(event);
      });
    },
  };
}
