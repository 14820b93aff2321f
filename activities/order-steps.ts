// Stock and the order itself. Each step is one transaction: effect, events, outbox rows and the step's own row.
import { DomainError } from '../src/domain/errors.ts';
import type { EventContext } from '../src/domain/event.ts';
import { reservationSeconds, type EndInput, type OrderActivities } from '../src/domain/saga-contract.ts';
import type { RunUnitOfWork } from '../src/event-store/unit-of-work.ts';
import { consumeStock, releaseStock, reserveStock, restockConsumed } from '../src/inventory/reservations.ts';
import { loadOrder, type EventSourcedOrderRepository } from '../src/orders/order-repository.ts';
import type { RunStep, StepWork } from './saga-step.ts';

export type OrderStepDeps = Readonly<{
  unitOfWork: RunUnitOfWork;
  repository: EventSourcedOrderRepository;
  runStep: RunStep;
}>;
type OrderSteps = Pick<
  OrderActivities,
  'reserveInventory' | 'releaseInventory' | 'confirmOrder' | 'endOrder' | 'restockOrder' | 'cancelRefundedOrder'
>;

export function createOrderSteps({ unitOfWork, repository, runStep }: OrderStepDeps): OrderSteps {
  async function endAs(step: StepWork, input: EndInput): Promise<'failed' | 'cancelled'> {
    return await unitOfWork(async (unit) => {
      const order = await loadOrder(repository, input.orderId, step.context, unit);
      const { status, cancellation } = order.state;
      await step.record(unit.tx, 'done');
      if (status === 'failed' || status === 'cancelled') return status;
      // A cancellation that was requested first was answered with 202: it wins over the failure.
      if (cancellation !== undefined) order.markAsCancelled(cancellation.reason, cancellation.cancelledBy);
      else if (input.outcome === 'cancelled') order.markAsCancelled(input.reason, input.cancelledBy);
      else order.markAsFailed(input.reason);
      await repository.save(order, unit);
      return order.state.status === 'cancelled' ? 'cancelled' : 'failed';
    });
  }

  /** The refusing attempt leaves the tombstone itself, so that a late attempt takes nothing. */
  async function closeReservation(orderId: string, context: EventContext): Promise<void> {
    await unitOfWork(async (unit) => {
      await releaseStock(unit, { orderId, context });
    });
  }

  return {
    reserveInventory: async ({ orderId, metadata, items, limits }) =>
      await runStep('reserve', metadata, async (step) => {
        try {
          await unitOfWork(async (unit) => {
            const hold = limits && { workflowId: step.workflowId, seconds: reservationSeconds(limits) };
            await reserveStock(unit, { orderId, context: step.context }, items, hold);
            await step.record(unit.tx, 'done');
          });
        } catch (error) {
          if (error instanceof DomainError) await closeReservation(orderId, step.context);
          throw error;
        }
      }),

    releaseInventory: async ({ orderId, metadata }) =>
      await runStep(
        'reserve',
        metadata,
        async (step) => {
          await unitOfWork(async (unit) => {
            await releaseStock(unit, { orderId, context: step.context });
            await step.record(unit.tx, 'undone');
          });
        },
        'undo',
      ),

    confirmOrder: async ({ orderId, metadata, paymentId }) =>
      await runStep('confirm', metadata, async (step) => {
        await unitOfWork(async (unit) => {
          const order = await loadOrder(repository, orderId, step.context, unit);
          order.markAsConfirmed(paymentId);
          await repository.save(order, unit);
          await consumeStock(unit.tx, { orderId, context: step.context });
          await step.record(unit.tx, 'done');
        });
      }),

    endOrder: async (input) => await runStep('end', input.metadata, async (step) => await endAs(step, input), 'must'),

    restockOrder: async ({ orderId, metadata }) =>
      await runStep(
        'restock',
        metadata,
        async (step) => {
          await unitOfWork(async (unit) => {
            await restockConsumed(unit, { orderId, context: step.context });
            await step.record(unit.tx, 'done');
          });
        },
        'must',
      ),

    cancelRefundedOrder: async (input) =>
      await runStep(
        'cancel',
        input.metadata,
        async (step) => {
          await endAs(step, input);
        },
        'must',
      ),
  };
}
