// What workflows, activities and the router agree on: names, inputs, results. Safe in the workflow sandbox: types and
// constants only. Changing a shape here meets sagas that are already running: see CONTRIBUTING, "change a workflow".
import type { EventMetadata } from './event.ts';
import type { ParkedStep, Resolution } from './saga-resolution.ts';

export const orderSagaName = 'orderSaga';
export const refundOrderName = 'refundOrder';
export const refundPaymentName = 'refundPayment';
export const orderSagaId = (orderId: string): string => `order-saga-${orderId}`;
export const refundOrderId = (orderId: string): string => `refund-order-${orderId}`;
/** Also of what asks for such runs in SQL. */
export const refundPaymentPrefix = 'refund-payment-';
export const refundPaymentId = (paymentId: string, refundId: string): string =>
  `${refundPaymentPrefix}${paymentId}-${refundId}`;

export const cancellationRequestedSignal = 'cancellationRequested';
export const paymentCallbackSignal = 'paymentCallback';

/** Search attributes, all of type Keyword. Registered at boot; a start with an unknown one fails. */
export const sagaSearchAttributes = ['OrderId', 'CustomerId', 'TenantId', 'SagaStatus', 'SagaStep'] as const;

/** What each step is, in the order of the way: see `workflows/saga-plan.ts`. Both sagas' names stand in one table. */
export const orderSagaPlan = {
  compensatable: ['reserve', 'charge'],
  pivot: 'confirm',
  retriable: [],
  ending: 'end',
} as const;
export const refundOrderPlan = { compensatable: [], retriable: ['refund', 'restock', 'cancel'] } as const;
export const orderSagaSteps = [...orderSagaPlan.compensatable, orderSagaPlan.pivot] as const;
export const refundOrderSteps = refundOrderPlan.retriable;
/** The gateway may refuse the refund: then nothing is put back either. It has nothing to undo, so a stop changes nothing. */
export const refundPaymentPlan = { compensatable: [], pivot: 'refund', retriable: ['restock'] } as const;

/** How patient a saga is with a step that it may not give up on. */
export type ParkingLimits = Readonly<{
  /** How long it is retried before it counts as parked. */
  parkAfterSeconds?: number;
  /** How often a parked one is tried again without anybody asking. */
  parkedRetrySeconds?: number;
}>;

export type SagaLimits = ParkingLimits &
  Readonly<{
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
  limits?: ParkingLimits;
  metadata: EventMetadata;
}>;

export type RefundPaymentInput = Readonly<{
  orderId: string;
  paymentId: string;
  refundId: string;
  /** Minor units. `all-held`: whatever the gateway holds when the run comes there. */
  amount: number | 'all-held';
  /** Puts all of the order's goods back, once, however small the refund. */
  restock: boolean;
  reason: string;
  limits?: ParkingLimits;
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
export type RefundPartInput = SagaRef & Pick<RefundPaymentInput, 'paymentId' | 'refundId' | 'amount' | 'reason'>;

export type ResolutionInput = Resolution &
  Readonly<{
    /** Null: a saga that is not an order's. */
    orderId: string | null;
    metadata: EventMetadata;
  }>;

/**
 * The steps of the sagas. Each is idempotent: it derives its keys and event ids from workflow and step. A refusal is
 * an ApplicationFailure with a DomainErrorCode as its type, not retryable; any other error is retried by Temporal.
 * An undo, and what can only go forward, has no refusals: it fails with `refusedForGood`, which may be retried.
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
  /**
   * Gives a part or all back, once per run. Refuses where that is more than is held, and moves nothing then.
   * @returns what was given back, in minor units
   */
  refundPaymentPart(input: RefundPartInput): Promise<number>;
  restockOrder(input: SagaRef): Promise<void>;
  cancelRefundedOrder(input: EndInput): Promise<void>;
  /** The step's row says that it is parked, unless it has been dealt with meanwhile. */
  noteParked(input: ParkedStep): Promise<void>;
  /** What an operator has decided: the event, the step's row, and what it means for money and stock, or none of it. */
  applyResolution(input: ResolutionInput): Promise<void>;
}>;
