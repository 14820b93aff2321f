// The order's saga: reserve, charge, confirm; or undo in reverse and say why.
import {
  ActivityCancellationType,
  condition,
  defineSignal,
  setHandler,
  type ActivityOptions,
} from '@temporalio/workflow';
import {
  cancellationRequestedSignal,
  orderSagaPlan,
  paymentCallbackSignal,
  type CancellationRequested,
  type ChargeInput,
  type ChargeResult,
  type OrderSagaInput,
  type OrderSagaResult,
  type PaymentCallback,
  type SettleInput,
} from '../src/domain/saga-contract.ts';
import { parkingRecordsOf, steps } from './order-steps.ts';
import { refusedRun } from './refused-run.ts';
import { isRefused, Refusal, StepGaveUp, StopRequested } from './saga-outcomes.ts';
import type { Persistent } from './saga-parking.ts';
import { runSaga, untilItWorks, type Saga } from './saga.ts';

type OrderSaga = Saga<typeof orderSagaPlan>;

/** Of the steps that may be given up on; the others are told by the kit how patient they are. */
const limited = ({ limits }: OrderSagaInput): ActivityOptions => ({
  ...untilItWorks,
  scheduleToCloseTimeout: `${limits.stepLimitSeconds} seconds`,
});

type Messages = { cancellation: CancellationRequested | undefined; callbacks: number };

/** COMPLETED: confirmed or cancelled. FAILED with the refusal's code as type. CANCELED: cancelled through Temporal. */
export async function orderSaga(input: OrderSagaInput): Promise<OrderSagaResult> {
  const messages: Messages = { cancellation: undefined, callbacks: 0 };
  const options = {
    title: `Order ${input.orderId}`,
    plan: orderSagaPlan,
    limits: input.limits,
    records: parkingRecordsOf({ orderId: input.orderId, metadata: input.metadata }),
  };
  return await runSaga(options, async (saga) => {
    listen(saga, messages);
    if (input.repair !== undefined) adoptEarlierRun(saga, input);
    if (input.repair?.cancellation !== undefined) {
      messages.cancellation = input.repair.cancellation;
      saga.requestStop();
    }
    try {
      return await fulfil(saga, input, messages);
    } catch (error) {
      return await end(saga, input, messages, error);
    }
  });
}

/** Signals come at least once and in any order; the event ids tell repeats from news. */
function listen(saga: OrderSaga, messages: Messages): void {
  const seen = new Set<string>();
  const isNews = (eventId: string): boolean => !seen.has(eventId) && seen.add(eventId).has(eventId);
  setHandler(defineSignal<[CancellationRequested]>(cancellationRequestedSignal), (signal) => {
    if (!isNews(signal.eventId)) return;
    messages.cancellation ??= signal;
    saga.requestStop();
  });
  setHandler(defineSignal<[PaymentCallback]>(paymentCallbackSignal), (signal) => {
    if (isNews(signal.eventId)) messages.callbacks += 1;
  });
}

async function fulfil(saga: OrderSaga, input: OrderSagaInput, messages: Messages): Promise<OrderSagaResult> {
  const { orderId, metadata } = input;
  const items = input.items.map(({ productId, quantity }) => ({ productId, quantity }));
  await saga.compensatable('reserve', {
    // Interruptible: an attempt that runs is waited for, so that its undo comes after it.
    do: async () =>
      await steps.reserveInventory({
        ...limited(input),
        cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
      })({ orderId, metadata, items, limits: input.limits }),
    undo: undoReserve(input),
    interruptible: true,
  });
  const charge = chargeOf(input);
  const { paymentId } = await saga.compensatable('charge', {
    do: async () => await chargeToAnEnd(saga, charge, input, messages),
    undo: undoCharge(input),
  });
  // The pivot may have committed although no answer came, so it is never given up on.
  await saga.pivot('confirm', async (patience) => await steps.confirmOrder(patience)({ orderId, metadata, paymentId }));
  saga.finish('Confirmed', 'confirmed and charged');
  return { status: 'confirmed', paymentId };
}

const notConfirmed = 'the order was not confirmed';
const chargeOf = ({ orderId, metadata, total, currency, paymentMethod }: OrderSagaInput): ChargeInput => ({
  orderId,
  metadata,
  amount: total,
  currency,
  method: paymentMethod,
});

const undoReserve =
  ({ orderId, metadata }: OrderSagaInput): Persistent<void> =>
  async (patience) =>
    await steps.releaseInventory(patience)({ orderId, metadata });
const undoCharge =
  (input: OrderSagaInput): Persistent<void> =>
  async (patience) =>
    await steps.undoPayment(patience)({ ...chargeOf(input), reason: notConfirmed });

/**
 * What an earlier run did is not in this run's history. Undone last of all, the stock first: without it no late attempt of
 * that run can confirm the order, whose money then goes back.
 */
function adoptEarlierRun(saga: OrderSaga, input: OrderSagaInput): void {
  saga.adopt('charge', undoCharge(input));
  saga.adopt('reserve', undoReserve(input));
}

/** Comes back with a charge, or refuses when it is certain that there is none and that none can land later. */
async function chargeToAnEnd(
  saga: OrderSaga,
  charge: ChargeInput,
  input: OrderSagaInput,
  messages: Messages,
): Promise<ChargeResult> {
  const settle = async (
    ifNotCharged: SettleInput['ifNotCharged'],
    refuseWith: SettleInput['refuseWith'],
  ): Promise<ChargeResult> => {
    const settled = { ...charge, ifNotCharged, refuseWith };
    return await saga.settle('charge', async (patience) => await steps.settlePayment(patience)(settled));
  };
  let result: ChargeResult;
  try {
    result = await steps.chargePayment(limited(input))(charge);
  } catch (error) {
    if (isRefused(error)) throw error;
    // No answer within the limit: the gateway says what is the case, and what is not charged by now never will be.
    return await settle('cancel', 'payment-unavailable');
  }
  const deadline = Date.now() + input.limits.paymentDeadlineSeconds * 1000;
  let asked = 0;
  while (result.status === 'waiting') {
    const news = (): boolean => messages.callbacks > asked || saga.stopRequested();
    const inTime = await condition(news, Math.max(1, deadline - Date.now()), {
      summary: "Wait for the payment's callback",
    });
    saga.throwIfStopped();
    asked = messages.callbacks;
    result = await settle(inTime ? 'wait' : 'cancel', 'payment-deadline-passed');
  }
  return result;
}

/** Undoes what was done, writes the order's end, and ends the run the way the order ended. */
async function end(
  saga: OrderSaga,
  input: OrderSagaInput,
  messages: Messages,
  error: unknown,
): Promise<OrderSagaResult> {
  const { orderId, metadata } = input;
  const refusal = refusalOf(error);
  await saga.compensate();
  const stopped = refusal === undefined || refusal.code === 'cancellation-requested';
  const reason = stopped
    ? (messages.cancellation?.reason ?? refusal?.message ?? 'cancelled in Temporal')
    : `${refusal.code}: ${refusal.message}`;
  const cancelledBy = messages.cancellation?.cancelledBy ?? 'operator';
  const outcome = stopped ? 'cancelled' : 'failed';
  const endAs = { orderId, metadata, outcome, reason, cancelledBy } as const;
  const ended = await saga.ending('end', async (patience) => await steps.endOrder(patience)(endAs));
  if (ended === 'cancelled' || refusal === undefined) {
    saga.finish('Cancelled', 'cancelled, nothing is held');
    return { status: 'cancelled', reason };
  }
  saga.finish('Failed', `${refusal.code}: ${refusal.message}`);
  throw refusedRun(refusal);
}

/** Undefined for a stop. Anything that is no known end is a bug: it keeps the run open until it is mended. */
function refusalOf(error: unknown): Readonly<{ code: string; message: string }> | undefined {
  if (error instanceof StopRequested) return undefined;
  if (error instanceof Refusal) return error;
  if (error instanceof StepGaveUp) return { code: 'step-limit-exceeded', message: error.message };
  throw error;
}
