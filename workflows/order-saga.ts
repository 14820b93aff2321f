// The order's saga: reserve, charge, confirm; or undo in reverse and say why.
import {
  ActivityCancellationType,
  ApplicationFailure,
  condition,
  defineSignal,
  proxyActivities,
  setHandler,
  type ActivityOptions,
} from '@temporalio/workflow';
import {
  cancellationRequestedSignal,
  orderSagaSteps,
  paymentCallbackSignal,
  type CancellationRequested,
  type ChargeInput,
  type ChargeResult,
  type OrderActivities,
  type OrderSagaInput,
  type OrderSagaResult,
  type OrderSagaStep,
  type PaymentCallback,
} from '../src/domain/saga-contract.ts';
import { Refusal, runSaga, StepGaveUp, StopRequested, untilItWorks, type Saga } from './saga.ts';

type Steps = ReturnType<typeof stepsOf>;
/** Each step with its name in the Web UI. What is not limited is retried until it works. */
function stepsOf(limitSeconds: number) {
  const limited: ActivityOptions = { ...untilItWorks, scheduleToCloseTimeout: `${limitSeconds} seconds` };
  const step = <K extends keyof OrderActivities>(
    name: K,
    summary: string,
    options: ActivityOptions,
  ): OrderActivities[K] => proxyActivities<OrderActivities>({ ...options, summary })[name];
  return {
    reserveInventory: step('reserveInventory', 'Reserve the stock for all items', {
      ...limited,
      // Interruptible: an attempt that runs is waited for, so that its undo comes after it.
      cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }),
    chargePayment: step('chargePayment', 'Charge the payment', limited),
    settlePayment: step('settlePayment', 'Ask the gateway what became of the charge', untilItWorks),
    // The pivot may have committed although no answer came, so it is never given up on.
    confirmOrder: step('confirmOrder', 'Confirm: consume the reservation, confirm the order', untilItWorks),
    releaseInventory: step('releaseInventory', 'Undo: release the stock', untilItWorks),
    undoPayment: step('undoPayment', 'Undo: refund the charge, or void it', untilItWorks),
    endOrder: step('endOrder', "Write the order's end", untilItWorks),
  };
}

type Messages = { cancellation: CancellationRequested | undefined; callbacks: number };

/** COMPLETED: confirmed or cancelled. FAILED with the refusal's code as type. CANCELED: cancelled through Temporal. */
export async function orderSaga(input: OrderSagaInput): Promise<OrderSagaResult> {
  const messages: Messages = { cancellation: undefined, callbacks: 0 };
  return await runSaga({ title: `Order ${input.orderId}`, steps: orderSagaSteps }, async (saga) => {
    listen(saga, messages);
    if (input.repair?.cancellation !== undefined) {
      messages.cancellation = input.repair.cancellation;
      saga.requestStop();
    }
    const steps = stepsOf(input.limits.stepLimitSeconds);
    try {
      return await fulfil(saga, steps, input, messages);
    } catch (error) {
      return await end(saga, steps, input, messages, error);
    }
  });
}

/** Signals come at least once and in any order; the event ids tell repeats from news. */
function listen(saga: Saga<OrderSagaStep>, messages: Messages): void {
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

async function fulfil(
  saga: Saga<OrderSagaStep>,
  steps: Steps,
  input: OrderSagaInput,
  messages: Messages,
): Promise<OrderSagaResult> {
  const { orderId, metadata } = input;
  const items = input.items.map(({ productId, quantity }) => ({ productId, quantity }));
  await saga.step('reserve', {
    do: async () => await steps.reserveInventory({ orderId, metadata, items, limits: input.limits }),
    undo: async () => await steps.releaseInventory({ orderId, metadata }),
    interruptible: true,
  });
  const charge = chargeOf(input);
  const { paymentId } = await saga.step('charge', {
    do: async () => await chargeToAnEnd(saga, steps, charge, input, messages),
    undo: async () => await steps.undoPayment({ ...charge, reason: notConfirmed }),
  });
  await saga.step('confirm', { do: async () => await steps.confirmOrder({ orderId, metadata, paymentId }) });
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

/**
 * What an earlier run did is not in this run's history. The stock first: without it no late attempt of that run can
 * confirm the order, whose money then goes back.
 */
async function undoEarlierRun(steps: Steps, input: OrderSagaInput): Promise<void> {
  const { orderId, metadata } = input;
  await steps.releaseInventory({ orderId, metadata });
  await steps.undoPayment({ ...chargeOf(input), reason: notConfirmed });
}

/** Comes back with a charge, or refuses when it is certain that there is none and that none can land later. */
async function chargeToAnEnd(
  saga: Saga<OrderSagaStep>,
  steps: Steps,
  charge: ChargeInput,
  input: OrderSagaInput,
  messages: Messages,
): Promise<ChargeResult> {
  let result: ChargeResult;
  try {
    result = await steps.chargePayment(charge);
  } catch (error) {
    if (isRefused(error)) throw error;
    // No answer within the limit: the gateway says what is the case, and what is not charged by now never will be.
    return await steps.settlePayment({ ...charge, ifNotCharged: 'cancel', refuseWith: 'payment-unavailable' });
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
    const ifNotCharged = inTime ? 'wait' : 'cancel';
    result = await steps.settlePayment({ ...charge, ifNotCharged, refuseWith: 'payment-deadline-passed' });
  }
  return result;
}

function isRefused(error: unknown): boolean {
  const cause: unknown = error instanceof Error ? error.cause : undefined;
  return cause instanceof ApplicationFailure && cause.nonRetryable === true;
}

/** Undoes what was done, writes the order's end, and ends the run the way the order ended. */
async function end(
  saga: Saga<OrderSagaStep>,
  steps: Steps,
  input: OrderSagaInput,
  messages: Messages,
  error: unknown,
): Promise<OrderSagaResult> {
  const { orderId, metadata } = input;
  const refusal = refusalOf(error);
  await saga.compensate();
  if (input.repair !== undefined) await undoEarlierRun(steps, input);
  const stopped = refusal === undefined || refusal.code === 'cancellation-requested';
  const reason = stopped
    ? (messages.cancellation?.reason ?? refusal?.message ?? 'cancelled in Temporal')
    : `${refusal.code}: ${refusal.message}`;
  const ended = await steps.endOrder({
    orderId,
    metadata,
    outcome: stopped ? 'cancelled' : 'failed',
    reason,
    cancelledBy: messages.cancellation?.cancelledBy ?? 'operator',
  });
  if (ended === 'cancelled' || refusal === undefined) {
    saga.finish('Cancelled', 'cancelled, nothing is held');
    return { status: 'cancelled', reason };
  }
  saga.finish('Failed', `${refusal.code}: ${refusal.message}`);
  throw withoutStack(ApplicationFailure.nonRetryable(refusal.message, refusal.code));
}

/** A refusal is no bug: the place in the code tells an operator nothing, and would show the machine's paths. */
function withoutStack(failure: ApplicationFailure): ApplicationFailure {
  failure.stack = `${failure.name}: ${failure.message}`;
  return failure;
}

/** Undefined for a stop. Anything that is no known end is a bug: it keeps the run open until it is mended. */
function refusalOf(error: unknown): Readonly<{ code: string; message: string }> | undefined {
  if (error instanceof StopRequested) return undefined;
  if (error instanceof Refusal) return error;
  if (error instanceof StepGaveUp) return { code: 'step-limit-exceeded', message: error.message };
  throw error;
}
