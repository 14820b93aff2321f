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
import { verifyAddressPlan } from '../domain/user-verification.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { Db } from '../platform/database.ts';
import { refundRunsOf } from './refund-runs.ts';
import { createSagaStarts } from './saga-starts.ts';
import { verificationRunsOf } from './verification-runs.ts';

export type ResolutionRequest = Readonly<{
  step: string;
  action: ResolutionAction;
  reference: string | undefined;
  resolvedBy: string;
}>;

/**
 * The saga acts on it only if the step is still parked when it hears of it.
 * @param eventId the same in every attempt of one request, which then is stored once and answered as before
 * @returns the workflow that has the step
 * @throws DomainError `reference-missing`, `saga-ended`, `step-not-parked`, `action-not-possible`
 */
type Request<Subject> = (
  subject: Subject,
  request: ResolutionRequest,
  metadata: EventMetadata,
  eventId?: string,
) => Promise<Readonly<{ workflowId: string }>>;

export type SagaResolutions = Readonly<{
  /** For an order that was submitted. */
  request: Request<Readonly<{ orderId: string; status: OrderStatus }>>;
  /** For the verification of a user's address, of today's or of one before. */
  requestForUser: Request<Readonly<{ userId: string }>>;
}>;

/** Whose step it may be. */
type Runs = Readonly<{
  orderId: string | null;
  all: readonly string[];
  /** Those that have not come to their end. */
  open: readonly string[];
  /** Why there is nothing parked. */
  nothingParked(step: string): DomainError;
}>;

const orderSteps: ReadonlySet<string> = new Set([...orderSagaSteps, orderSagaPlan.ending, ...refundOrderSteps]);
const verificationSteps: ReadonlySet<string> = new Set([...verifyAddressPlan.compensatable, verifyAddressPlan.pivot]);

export function createSagaResolutions({ db, store }: Readonly<{ db: Db; store: EventStore }>): SagaResolutions {
  /** A refund of the whole order runs while the order is confirmed, and where one was started. */
  async function isOpen(orderId: string, status: OrderStatus): Promise<boolean> {
    if (status !== 'confirmed') return status === 'submitted';
    return (await createSagaStarts(db).find(refundOrderId(orderId))) !== undefined;
  }

  /** Where several runs are stuck at the same step, the oldest: the next word is for the next one. */
  async function parkedStep(
    runs: readonly string[],
    step: string,
  ): Promise<Readonly<{ workflowId: string; byHand: boolean }> | undefined> {
    if (runs.length === 0) return undefined;
    return await db
      .selectFrom('saga_steps')
      .select(['workflow_id as workflowId', 'by_hand as byHand'])
      .where('workflow_id', 'in', runs)
      .where('step', '=', step)
      .where('state', '=', 'parked')
      .orderBy('updated_at')
      .executeTakeFirst();
  }

  /** @returns the workflow that an earlier attempt with this event id has told */
  async function toldBefore(runs: readonly string[], eventId: string): Promise<string | undefined> {
    for (const workflowId of runs) {
      const events = await store.getEvents(sagaStreamId(workflowId));
      if (events.some((event) => event.eventId === eventId)) return workflowId;
    }
    return undefined;
  }

  async function runsOfOrder(orderId: string, status: OrderStatus): Promise<Runs> {
    const ofOrder = [orderSagaId(orderId), refundOrderId(orderId)];
    const ofPayments = await refundRunsOf(db, orderId);
    const orderIsOpen = await isOpen(orderId, status);
    return {
      orderId,
      all: [...ofOrder, ...ofPayments],
      // A refund may run after the order's end: of money that was found to be held then.
      open: [...(orderIsOpen ? ofOrder : [refundOrderId(orderId)]), ...ofPayments],
      nothingParked(step) {
        if (orderIsOpen) return notParked(orderSteps, step);
        return new DomainError('saga-ended', `the saga of the order has ended: it is ${status}`, 'status');
      },
    };
  }

  async function decide(runs: Runs, ...[request, metadata, eventId]: Told): Promise<Readonly<{ workflowId: string }>> {
    const { step, action, reference, resolvedBy } = request;
    const told = eventId === undefined ? undefined : await toldBefore(runs.all, eventId);
    if (told !== undefined) return { workflowId: told };
    const parked = await parkedStep(runs.open, step);
    if (parked === undefined) throw runs.nothingParked(step);
    const { workflowId, byHand } = parked;
    if (action !== 'retry' && !byHand) {
      throw new DomainError('action-not-possible', `${step} can only be retried: its outcome is needed`, 'action');
    }
    const event: EventOf<'saga.resolution_requested'> = {
      eventId: eventId ?? newId(),
      eventType: 'saga.resolution_requested',
      occurredAt: new Date(),
      aggregateId: sagaStreamId(workflowId),
      aggregateType: 'saga',
      payload: { orderId: runs.orderId, workflowId, step, action, reference: reference ?? null, resolvedBy },
      metadata,
    };
    await store.append(event);
    return { workflowId };
  }

  return {
    async request({ orderId, status }, ...told) {
      mustHaveReference(told[0]);
      return await decide(await runsOfOrder(orderId, status), ...told);
    },
    async requestForUser({ userId }, ...told) {
      mustHaveReference(told[0]);
      const all = verificationRunsOf(await store.getEvents(userId));
      const nothingParked = (step: string): DomainError => notParked(verificationSteps, step);
      return await decide({ orderId: null, all, open: all, nothingParked }, ...told);
    },
  };
}

type Told = readonly [request: ResolutionRequest, metadata: EventMetadata, eventId?: string];

function mustHaveReference({ action, reference }: ResolutionRequest): void {
  if (!needsReference(action) || reference !== undefined) return;
  throw new DomainError('reference-missing', `${action} needs a reference that says where to look`, 'reference');
}

const notParked = (known: ReadonlySet<string>, step: string): DomainError =>
  new DomainError('step-not-parked', known.has(step) ? `${step} is not parked` : `there is no step ${step}`, 'step');
