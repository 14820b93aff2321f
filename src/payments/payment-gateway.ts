// The port to whoever moves the money: the two-phase shape of payment intents, so that an adapter for a real provider
// is one more file. What it promises is tested by test/support/payment-gateway-contract.ts, which every adapter passes.
import type { Tx } from '../platform/database.ts';

/** `pending` covers an intent that was only prepared and one whose capture is still being decided. */
export type PaymentStatus = 'pending' | 'charged' | 'declined' | 'refunded' | 'voided';

export type Payment = Readonly<{
  paymentId: string;
  orderId: string;
  tenantId: string;
  /** `voided` and `declined` are for good; `refunded` says that nothing is held any more. */
  status: PaymentStatus;
  /** Minor units, as agreed when the intent was made. */
  amount: number;
  /** Minor units. What is held of a charged payment is `amount - refunded`. */
  refunded: number;
  currency: string;
  method: string;
  /** Why it was declined. */
  reason: string | undefined;
}>;

/** Minor units of it that the gateway still holds for us. */
export const heldBy = (payment: Payment | undefined): number =>
  payment?.status === 'charged' ? payment.amount - payment.refunded : 0;

export type PaymentRequest = Readonly<{
  /** The same key is the same payment, for ever. */
  key: string;
  tenantId: string;
  orderId: string;
  amount: number;
  currency: string;
  method: string;
}>;

export type RefundRequest = Readonly<{
  /** The same key is the same refund, for ever. */
  key: string;
  /** Minor units. `all-held`: what is held when it comes there, so that nobody has to know it before. */
  amount: number | 'all-held';
}>;

export type Refund = Readonly<{
  /** What was given back under this key: the same in every repeat. 0 where `all-held` met nothing. */
  amount: number;
  payment: Payment;
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
 * Repeats: every call may come again, also while its first is under way, and then answers with what is the case by now.
 * Keys are the caller's: derived from workflow and step, never random, so that whoever repeats a step after a crash sends
 * the same. An adapter whose provider forgets keys (often after 24 h) keeps its own record of them.
 *
 * Errors: a DomainError is the gateway's "no", for good; nothing was moved by this call. UnavailableError is no answer:
 * without `outcomeUnknown` nothing happened; with it the call may have taken effect, then or later. The adapter repeats
 * nothing itself: the saga's step does, with back-off, and after an unknown outcome it asks `get` first. What `get` does
 * not know by then may still arrive, so nobody may conclude from it that there is nothing: `prepare` under the same key and
 * `cancel` make certain.
 *
 * Order: `capture`, `cancel`, `refund` and callbacks of one payment take effect one after the other, in any order.
 */
export type PaymentGateway = Readonly<{
  /**
   * Makes an intent and moves nothing; also the way to find the payment of a key again.
   * @throws DomainError `currency-not-supported`, before anything exists; `payment-mismatch` where the key stands for
   * another amount or currency
   */
  prepare(request: PaymentRequest): Promise<Payment>;
  /**
   * Charges the whole amount, once. Answers charged, declined, or pending (decided later, told by callback); of what is
   * voided, voided. @throws DomainError `payment-not-found`
   */
  capture(paymentId: string): Promise<Payment>;
  /**
   * Voids what was not captured, for good: no capture and no callback that comes later moves money. What was captured
   * stays charged. @throws DomainError `payment-not-found`
   */
  cancel(paymentId: string): Promise<Payment>;
  /**
   * Gives back a part or all of a charge, never more than is held, also by many at once.
   * @throws DomainError `payment-closed` where nothing was charged, `refund-exceeds-held`, `payment-not-found`,
   * `payment-mismatch` where the key stands for another refund
   */
  refund(paymentId: string, refund: RefundRequest): Promise<Refund>;
  /** Undefined: not known (yet). */
  get(paymentId: string): Promise<Payment | undefined>;
  /**
   * Takes a callback whose signature was checked, in the caller's transaction. Early, late or twice: what is decided
   * stays decided. @throws DomainError `payment-not-found`, `payment-mismatch`
   */
  acceptCallback(tx: Tx, callback: PaymentCallback): Promise<Payment>;
}>;
