// The port to whoever moves the money: the two-phase shape of payment intents, so that an adapter for a real provider
// is one more file.
import type { Tx } from '../platform/database.ts';

/** `pending` covers an intent that was only prepared and one whose capture is still being decided. */
export type PaymentStatus = 'pending' | 'charged' | 'declined' | 'refunded' | 'voided';

export type Payment = Readonly<{
  paymentId: string;
  orderId: string;
  tenantId: string;
  status: PaymentStatus;
  /** Minor units. */
  amount: number;
  refunded: number;
  currency: string;
  method: string;
  /** Why it was declined. */
  reason: string | undefined;
}>;

export type PaymentRequest = Readonly<{
  /** The same key is the same payment, for ever. */
  key: string;
  tenantId: string;
  orderId: string;
  amount: number;
  currency: string;
  method: string;
}>;

export type PaymentCallback = Readonly<{
  outcome: 'completed' | 'failed';
  paymentId: string;
  orderId: string;
  amount: number;
  currency: string;
  reason: string | undefined;
}>;

/**
 * Every call may be repeated and then answers with what is the case by now. Each throws UnavailableError where the
 * gateway is away or gave no answer; with `outcomeUnknown` the call may have taken effect, so ask `get` first.
 */
export type PaymentGateway = Readonly<{
  /** Makes an intent and moves nothing. @throws DomainError `currency-not-supported` */
  prepare(request: PaymentRequest): Promise<Payment>;
  /** Answers charged, declined, or pending (decided later, told by callback). A voided intent stays voided. */
  capture(paymentId: string): Promise<Payment>;
  /** Voids what was not captured, for good: no later capture of it can succeed. What was captured stays charged. */
  cancel(paymentId: string): Promise<Payment>;
  /** Gives back `amount` of a charge, once per key. @throws DomainError `refund-exceeds-held` */
  refund(paymentId: string, refund: Readonly<{ key: string; amount: number }>): Promise<Payment>;
  get(paymentId: string): Promise<Payment | undefined>;
  /**
   * Takes a callback whose signature was checked, in the caller's transaction. Early, late or twice: what is decided
   * stays decided. @throws DomainError `payment-not-found`, `payment-mismatch`
   */
  acceptCallback(tx: Tx, callback: PaymentCallback): Promise<Payment>;
}>;
