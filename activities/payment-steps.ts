// Money: charge, settle an unknown outcome, undo. Every question of "did it happen" is the gateway's to answer.
import type { EventOf, EventPayload } from '../src/domain/catalogue.ts';
import { DomainError, UnavailableError } from '../src/domain/errors.ts';
import type { EventContext } from '../src/domain/event.ts';
import { derivedId } from '../src/domain/ids.ts';
import type { ChargeInput, ChargeResult, OrderActivities, RefundPartInput } from '../src/domain/saga-contract.ts';
import type { EventStore } from '../src/event-store/event-store.ts';
import type { RunUnitOfWork, UnitOfWork } from '../src/event-store/unit-of-work.ts';
import { refundEventId } from '../src/payments/available-for-refund.ts';
import { listPayments } from '../src/payments/ledger-rows.ts';
import type { Payment, PaymentGateway } from '../src/payments/payment-gateway.ts';
import type { RunStep, StepWork } from './saga-step.ts';

export type PaymentStepDeps = Readonly<{
  store: EventStore;
  unitOfWork: RunUnitOfWork;
  gateway: PaymentGateway;
  runStep: RunStep;
}>;
type PaymentSteps = Pick<
  OrderActivities,
  'chargePayment' | 'settlePayment' | 'undoPayment' | 'refundOrderPayment' | 'refundPaymentPart'
>;

const chargeKey = (workflowId: string): string => `${workflowId}:charge`;

export function createPaymentSteps(deps: PaymentStepDeps): PaymentSteps {
  const { gateway, store, unitOfWork, runStep } = deps;

  const prepare = async (workflowId: string, input: ChargeInput): Promise<Payment> =>
    await gateway.prepare({
      key: chargeKey(workflowId),
      tenantId: input.metadata.tenantId,
      orderId: input.orderId,
      amount: input.amount,
      currency: input.currency,
      method: input.method,
    });

  /** Amount and currency were pinned when the order was submitted: anything else is refused before an intent exists. */
  async function mustBePinned({ orderId, amount, currency }: ChargeInput): Promise<void> {
    const stream = await store.getEvents(orderId);
    const submitted = stream.find(({ eventType }) => eventType === 'order.submitted');
    if (submitted === undefined) throw new DomainError('order-not-submitted', `${orderId} was never submitted`);
    const pinned = submitted.payload as EventPayload<'order.submitted'>;
    mustAgree('currency', pinned.currency, currency);
    mustAgree('amount', pinned.total, amount);
  }

  /** A gateway that has made another intent than it was asked for: voided, so that it can never be captured. */
  async function mustBeAsAsked(payment: Payment, { amount, currency }: ChargeInput): Promise<void> {
    if (payment.currency === currency && payment.amount === amount) return;
    await gateway.cancel(payment.paymentId);
    mustAgree('currency', currency, payment.currency);
    mustAgree('amount', amount, payment.amount);
  }

  /** A callback may have decided the payment after the saga last asked: what is undone has been told before. */
  async function tellCallback(unit: UnitOfWork, context: EventContext, payment: Payment): Promise<void> {
    const { paymentId, orderId, status, amount, currency, method } = payment;
    if (status === 'charged' || status === 'refunded') {
      const completed = { paymentId, orderId, amount, currency, method };
      await appendOnce(deps, unit, context, 'payment.completed', completed);
    }
    if (status === 'declined') {
      const failed = { paymentId, orderId, reason: payment.reason ?? 'declined' };
      await appendOnce(deps, unit, context, 'payment.failed', failed);
    }
  }

  /** Writes what the gateway says into our log, and gives the saga its answer. */
  async function answer(step: StepWork, payment: Payment, ifDeclined: DomainError['code']): Promise<ChargeResult> {
    const { paymentId, orderId, amount, currency, method } = payment;
    switch (payment.status) {
      case 'pending':
        // It may have been parked while the gateway was asked in vain.
        await step.record(step.db, 'running');
        return { paymentId, status: 'waiting' };
      case 'charged':
        await unitOfWork(async (unit) => {
          await appendOnce(deps, unit, step.context, 'payment.completed', {
            paymentId,
            orderId,
            amount,
            currency,
            method,
          });
          await step.record(unit.tx, 'done');
        });
        return { paymentId, status: 'charged' };
      case 'declined': {
        const reason = payment.reason ?? 'declined';
        await unitOfWork(async (unit) => {
          await appendOnce(deps, unit, step.context, 'payment.failed', { paymentId, orderId, reason });
        });
        throw new DomainError(ifDeclined, reason);
      }
      case 'voided':
      case 'refunded':
        throw new DomainError('payment-closed', `the payment is ${payment.status} already`);
    }
  }

  /** The gateway's "no" is told to whoever asked, by an event, and promises the sum to others again. */
  async function part(step: StepWork, input: RefundPartInput): Promise<number> {
    const { orderId, paymentId, refundId, amount: asked, reason } = input;
    try {
      const { amount } = await gateway.refund(paymentId, { key: step.workflowId, amount: asked });
      await unitOfWork(async (unit) => {
        const refunded = { paymentId, orderId, reason, amount };
        const eventId = refundEventId(paymentId, refundId);
        if (amount > 0) await appendOnce(deps, unit, step.context, 'payment.refunded', refunded, eventId);
        await step.record(unit.tx, 'done');
      });
      return amount;
    } catch (error) {
      if (!(error instanceof DomainError)) throw error;
      const failed = { paymentId, orderId, refundId, amount: asked === 'all-held' ? 0 : asked, reason: error.message };
      await unitOfWork(async (unit) => {
        const eventId = derivedId('event', 'payment.refund_failed', paymentId, refundId);
        await appendOnce(deps, unit, step.context, 'payment.refund_failed', failed, eventId);
      });
      throw error;
    }
  }

  return {
    chargePayment: async (input) =>
      await runStep('charge', input.metadata, async (step) => {
        await mustBePinned(input);
        const prepared = await prepare(step.workflowId, input);
        await mustBeAsAsked(prepared, input);
        const payment = prepared.status === 'pending' ? await capture(gateway, prepared.paymentId) : prepared;
        return await answer(step, payment, 'payment-declined');
      }),

    settlePayment: async (input) =>
      await runStep('charge', input.metadata, async (step) => {
        const { paymentId, orderId } = await prepare(step.workflowId, input);
        const payment =
          input.ifNotCharged === 'cancel' ? await gateway.cancel(paymentId) : await gateway.get(paymentId);
        if (payment?.status === 'voided') {
          await unitOfWork(async (unit) => {
            const voided = { paymentId, orderId, reason: input.refuseWith };
            await appendOnce(deps, unit, step.context, 'payment.voided', voided);
          });
          throw new DomainError(input.refuseWith, reasonOf(input.refuseWith));
        }
        if (payment === undefined) throw new UnavailableError(`the gateway does not know payment ${paymentId}`);
        return await answer(step, payment, 'payment-failed');
      }),

    undoPayment: async (input) =>
      await runStep(
        'charge',
        input.metadata,
        async (step) => {
          // Prepared again under its key, an intent that never arrived exists now, to be voided: a tombstone.
          const prepared = await prepare(step.workflowId, input).catch(orRefused);
          if (prepared === undefined) {
            await step.record(step.db, 'undone');
            return;
          }
          const { paymentId, orderId } = prepared;
          const payment = await gateway.cancel(paymentId);
          // First, by itself: should the refund get stuck, what an operator decides is about money that is known of.
          await unitOfWork(async (unit) => await tellCallback(unit, step.context, payment));
          const key = `${chargeKey(step.workflowId)}:undo`;
          const amount = await giveBackRest(gateway, payment, key);
          await unitOfWork(async (unit) => {
            const undone = { paymentId, orderId, reason: input.reason };
            if (payment.status === 'voided') await appendOnce(deps, unit, step.context, 'payment.voided', undone);
            if (amount > 0) await appendOnce(deps, unit, step.context, 'payment.refunded', { ...undone, amount });
            await step.record(unit.tx, 'undone');
          });
        },
        'undo',
      ),

    refundOrderPayment: async ({ orderId, metadata, reason }) =>
      await runStep(
        'refund',
        metadata,
        async (step) => {
          const payments = await listPayments(step.db, metadata.tenantId, orderId);
          for (const payment of payments) {
            const { paymentId } = payment;
            const amount = await giveBackRest(gateway, payment, `${step.workflowId}:${paymentId}`);
            if (amount === 0) continue;
            await unitOfWork(async (unit) => {
              await appendOnce(deps, unit, step.context, 'payment.refunded', { paymentId, orderId, reason, amount });
            });
          }
          await step.record(step.db, 'done');
        },
        'must',
      ),

    refundPaymentPart: async (input) =>
      await runStep('refund', input.metadata, async (step) => await part(step, input)),
  };
}

/**
 * Gives back what is still held, where it was charged at all: a part may have been refunded before, or is just being.
 * @returns what went back under this key, in this attempt or an earlier one
 */
async function giveBackRest(gateway: PaymentGateway, { paymentId, status }: Payment, key: string): Promise<number> {
  if (status !== 'charged' && status !== 'refunded') return 0;
  return (await gateway.refund(paymentId, { key, amount: 'all-held' })).amount;
}

function mustAgree(field: 'amount' | 'currency', pinned: number | string, charged: number | string): void {
  if (pinned === charged) return;
  throw new DomainError('payment-mismatch', `the ${field} of the order is ${pinned}, of the charge ${charged}`, field);
}

/** What the gateway refuses to prepare was never charged and never will be. */
function orRefused(error: unknown): undefined {
  if (!(error instanceof DomainError) || error.code !== 'currency-not-supported') throw error;
}

/** The unknown outcome: no answer came, so the gateway is asked; still undecided is a failed attempt, never a guess. */
async function capture(gateway: PaymentGateway, paymentId: string): Promise<Payment> {
  try {
    return await gateway.capture(paymentId);
  } catch (error) {
    if (!(error instanceof UnavailableError) || !error.outcomeUnknown) throw error;
    const payment = await gateway.get(paymentId);
    if (payment === undefined || payment.status === 'pending') throw error;
    return payment;
  }
}

const reasonOf = (code: 'payment-deadline-passed' | 'payment-unavailable'): string =>
  code === 'payment-deadline-passed'
    ? 'the payment was not settled before its deadline'
    : 'the payment gateway gave no answer; the payment is voided';

type PaymentEventType =
  | 'payment.completed'
  | 'payment.failed'
  | 'payment.voided'
  | 'payment.refunded'
  | 'payment.refund_failed';

/** A payment ends each way at most once, whichever step comes to say so; a refund in parts has an event for each. */
async function appendOnce<N extends PaymentEventType>(
  { store }: PaymentStepDeps,
  unit: UnitOfWork,
  context: EventContext,
  eventType: N,
  payload: EventPayload<N> & Readonly<{ paymentId: string }>,
  eventId: string = derivedId('event', eventType, payload.paymentId),
): Promise<void> {
  const stored = await store.getEvents(payload.paymentId, { tx: unit.tx });
  if (stored.some((event) => event.eventId === eventId)) return;
  const event: EventOf<PaymentEventType> = {
    eventId,
    eventType,
    occurredAt: context.now(),
    aggregateId: payload.paymentId,
    aggregateType: 'payment',
    payload,
    metadata: context.metadata,
    // Type and payload are tied by the signature; the generic cannot be narrowed to one member of the union.
  } as unknown as EventOf<PaymentEventType>;
  await unit.append(event, stored.length);
}
