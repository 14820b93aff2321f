// An operator's word on a parked step: checked against our own rows and stored as an event, which signals the saga. So
// it is taken while Temporal is away, and nothing of it is lost.
import type { EventOf } from '../domain/catalogue.ts';
import { DomainError } from '../domain/errors.ts';
import type { EventMetadata } from '../domain/event.ts';
import { newId, sagaStreamId } from '../domain/ids.ts';
import type { OrderStatus } from '../domain/order-state.ts';
import {
  orderSagaId,
  orderSagaPlan,
  orderSagaSteps,
  refundOrderId,
  refundOrderSteps,
} from '../domain/saga-contract.ts';
import { needsReference, type ResolutionAction } from '../domain/saga-resolution.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { Db } from '../platform/database.ts';

export type ResolutionRequest = Readonly<{
  step: string;
  action: ResolutionAction;
  reference: string | undefined;
  resolvedBy: string;
}>;

export type SagaResolutions = Readonly<{
  /**
   * For an order that was submitted. The saga acts on it only if the step is still parked when it hears of it.
   * @param eventId the same in every attempt of one request, which then is stored once and answered as before
   * @returns the workflow that has the step
   * @throws DomainError `reference-missing`, `saga-ended`, `step-not-parked`, `action-not-possible`
   */
  request(
    order: Readonly<{ orderId: string; status: OrderStatus }>,
    request: ResolutionRequest,
    metadata: EventMetadata,
    eventId?: string,
  ): Promise<Readonly<{ workflowId: string }>>;
}>;

const knownSteps: ReadonlySet<string> = new Set([...orderSagaSteps, orderSagaPlan.ending, ...refundOrderSteps]);

export function createSagaResolutions({ db, store }: Readonly<{ db: Db; store: EventStore }>): SagaResolutions {
  /** The names of both sagas' steps differ, so a name is of one of them. */
  async function parkedStep(orderId: string, step: string): Promise<Readonly<{ workflowId: string; byHand: boolean }>> {
    const row = await db
      .selectFrom('saga_steps')
      .select(['workflow_id as workflowId', 'by_hand as byHand'])
      .where('workflow_id', 'in', [orderSagaId(orderId), refundOrderId(orderId)])
      .where('step', '=', step)
      .where('state', '=', 'parked')
      .executeTakeFirst();
    if (row !== undefined) return row;
    const message = knownSteps.has(step) ? `${step} is not parked` : `there is no step ${step}`;
    throw new DomainError('step-not-parked', message, 'step');
  }

  /** @returns the workflow that an earlier attempt with this event id has told */
  async function toldBefore(orderId: string, eventId: string): Promise<string | undefined> {
    for (const workflowId of [orderSagaId(orderId), refundOrderId(orderId)]) {
      const events = await store.getEvents(sagaStreamId(workflowId));
      if (events.some((event) => event.eventId === eventId)) return workflowId;
    }
    return undefined;
  }

  async function mustRun(orderId: string, status: OrderStatus): Promise<void> {
    const isOpen =
      status === 'submitted' ||
      (status === 'confirmed' &&
        (await db
          .selectFrom('saga_starts')
          .select('state')
          .where('workflow_id', '=', refundOrderId(orderId))
          .executeTakeFirst()) !== undefined);
    if (!isOpen) throw new DomainError('saga-ended', `the saga of the order has ended: it is ${status}`, 'status');
  }

  return {
    async request({ orderId, status }, { step, action, reference, resolvedBy }, metadata, eventId) {
      if (needsReference(action) && reference === undefined) {
        throw new DomainError('reference-missing', `${action} needs a reference that says where to look`, 'reference');
      }
      const told = eventId === undefined ? undefined : await toldBefore(orderId, eventId);
      if (told !== undefined) return { workflowId: told };
      await mustRun(orderId, status);
      const { workflowId, byHand } = await parkedStep(orderId, step);
      if (action !== 'retry' && !byHand) {
        throw new DomainError('action-not-possible', `${step} can only be retried: its outcome is needed`, 'action');
      }
      const event: EventOf<'saga.resolution_requested'> = {
        eventId: eventId ?? newId(),
        eventType: 'saga.resolution_requested',
        occurredAt: new Date(),
        aggregateId: sagaStreamId(workflowId),
        aggregateType: 'saga',
        payload: { orderId, workflowId, step, action, reference: reference ?? null, resolvedBy },
        metadata,
      };
      await store.append(event);
      return { workflowId };
    },
  };
}
