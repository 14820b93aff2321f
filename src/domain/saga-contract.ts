// What workflows, activities and the router agree on: names, inputs, results. Safe in the workflow sandbox: types and
// constants only. Changing a shape here meets sagas that are already running: see CONTRIBUTING, "change a workflow".
import type { EventMetadata } from './event.ts';

export const orderSagaName = 'orderSaga';
export const refundOrderName = 'refundOrder';
export const orderSagaId = (orderId: string): string => `order-saga-${orderId}`;
export const refundOrderId = (orderId: string): string => `refund-order-${orderId}`;

export const cancellationRequestedSignal = 'cancellationRequested';
export const paymentCallbackSignal = 'paymentCallback';

/** Search attributes, all of type Keyword. Registered at boot; a start with an unknown one fails. */
export const sagaSearchAttributes = ['OrderId', 'CustomerId', 'TenantId', 'SagaStatus', 'SagaStep'] as const;
export const orderSagaSteps = ['reserve', 'charge', 'confirm'] as const;
export type OrderSagaStep = (typeof orderSagaSteps)[number];
export const refundOrderSteps = ['refund', 'restock', 'cancel'] as const;

export type SagaLimits = Readonly<{
  /** How long a forward step is retried before the saga gives up on it and compensates. */
  stepLimitSeconds: number;
  /** How long a pending payment is waited for. */
  paymentDeadlineSeconds: number;
}>;

/** For settling and confirming, which have no limit; an outage that is longer is covered by asking for the run. */
const spareSeconds = 600;

/**
 * How long stock is held for an order before `reconcile` asks whether its saga still lives: the step limit twice (what
 * is left of `reserve` where its answer was lost, and `charge`), plus the payment's deadline, plus ten minutes. So a saga
 * that keeps to its limits is never met by it; one that lives longer keeps the stock all the same.
 */
export const reservationSeconds = ({ stepLimitSeconds, paymentDeadlineSeconds }: SagaLimits): number =>
  2 * stepLimitSeconds + paymentDeadlineSeconds + spareSeconds;

export type OrderSagaInput = Readonly<{
  orderId: string;
  customerId: string;
  items: readonly Readonly<{ productId: string; quantity: number; price: number }>[];
  total: number;
  currency: string;
  paymentMethod: string;
  limits: SagaLimits;
  /** Of the event that started the saga; the steps' own events carry it on. */
  metadata: EventMetadata;
  /**
   * Another run of a saga whose run is gone without an end. Its steps find what the first one did; what it does not
   * get to is undone as well. `cancellation`: asked for before, so it only goes back.
   */
  repair?: Readonly<{ cancellation: CancellationRequested | undefined }>;
}>;

export type RefundOrderInput = Readonly<{
  orderId: string;
  reason: string;
  cancelledBy: string;
  metadata: EventMetadata;
}>;

/** Signals come at least once: the workflow keeps the event ids that it has seen. */
export type CancellationRequested = Readonly<{ eventId: string; reason: string; cancelledBy: string }>;
export type PaymentCallback = Readonly<{ eventId: string; paymentId: string }>;

export type OrderSagaResult = Readonly<{ status: 'confirmed' | 'cancelled'; paymentId?: string; reason?: string }>;
/** `waiting`: the gateway says pending; the callback, or the deadline, decides. */
export type ChargeResult = Readonly<{ paymentId: string; status: 'charged' | 'waiting' }>;

type SagaRef = Readonly<{ orderId: string; metadata: EventMetadata }>;
export type ReserveInput = SagaRef &
  Readonly<{
    items: readonly Readonly<{ productId: string; quantity: number }>[];
    /** Absent in runs of the release before. */
    limits?: SagaLimits;
  }>;
export type ReleaseInput = SagaRef;
export type ChargeInput = SagaRef & Readonly<{ amount: number; currency: string; method: string }>;
export type SettleInput = ChargeInput &
  Readonly<{
    /** `cancel` voids the intent for good, so that it cannot be captured later. */
    ifNotCharged: 'wait' | 'cancel';
    refuseWith: 'payment-deadline-passed' | 'payment-unavailable';
  }>;
export type UndoChargeInput = ChargeInput & Readonly<{ reason: string }>;
export type ConfirmInput = SagaRef & Readonly<{ paymentId: string }>;
export type EndInput = SagaRef & Readonly<{ outcome: 'failed' | 'cancelled'; reason: string; cancelledBy: string }>;
export type RefundInput = SagaRef & Readonly<{ reason: string }>;

/**
 * The steps of both sagas. Each is idempotent: it derives its keys and event ids from workflow and step. A refusal is
 * an ApplicationFailure with a DomainErrorCode as its type, not retryable; any other error is retried by Temporal.
 */
export type OrderActivities = Readonly<{
  reserveInventory(input: ReserveInput): Promise<void>;
  releaseInventory(input: ReleaseInput): Promise<void>;
  chargePayment(input: ChargeInput): Promise<ChargeResult>;
  /** Asks the gateway what became of the charge. Refuses with the payment's own code where it failed. */
  settlePayment(input: SettleInput): Promise<ChargeResult>;
  /** Refunds what was captured, or cancels what was not, for good: no late capture can land after it. */
  undoPayment(input: UndoChargeInput): Promise<void>;
  confirmOrder(input: ConfirmInput): Promise<void>;
  /** Appends the end, and says which it was: a cancellation that was requested first wins over a failure. */
  endOrder(input: EndInput): Promise<'failed' | 'cancelled'>;
  refundOrderPayment(input: RefundInput): Promise<void>;
  restockOrder(input: SagaRef): Promise<void>;
  cancelRefundedOrder(input: EndInput): Promise<void>;
}>;
