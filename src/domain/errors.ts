// Three families; the class is the retry policy. No HTTP and no Temporal in here: each edge has one closed switch.

export const domainErrorCodes = [
  'order-not-found',
  'order-not-draft',
  'order-not-submitted',
  'order-not-confirmed',
  'order-not-cancelled',
  'order-empty',
  'order-ended',
  'order-too-large',
  'item-not-found',
  'price-mismatch',
  'product-not-found',
  'stock-below-reserved',
  'unknown-product',
  'out-of-stock',
  'reservation-gone',
  'currency-not-supported',
  'payment-declined',
  'payment-failed',
  'payment-deadline-passed',
  'payment-unavailable',
  'payment-not-found',
  'payment-mismatch',
  'payment-closed',
  'user-not-found',
  'email-taken',
  'refund-exceeds-held',
  'cancellation-requested',
  'step-limit-exceeded',
  'saga-ended',
  'step-not-parked',
  'action-not-possible',
  'reference-missing',
] as const;
export type DomainErrorCode = (typeof domainErrorCodes)[number];

/** "You may not": retrying changes nothing. A saga compensates; a command is refused. */
export class DomainError extends Error {
  override readonly name = 'DomainError';
  readonly code: DomainErrorCode;
  /** The input field that would have to change, where there is one. */
  readonly field: string | undefined;
  constructor(code: DomainErrorCode, message: string, field?: string) {
    super(message);
    this.code = code;
    this.field = field;
  }
}

/** "Again, with fresh state": somebody else wrote first. Retried inside; past that the caller's to repeat. */
export class ConflictError extends Error {
  override readonly name = 'ConflictError';
  readonly actualVersion: number | undefined;
  constructor(message: string, actualVersion?: number) {
    super(message);
    this.actualVersion = actualVersion;
  }
}

/** "Not now": the other side is away or gave no answer. Nothing is wrong with the request; retry with back-off. */
export class UnavailableError extends Error {
  override readonly name = 'UnavailableError';
  /** True where the request may have taken effect although no answer came: ask before doing it again. */
  readonly outcomeUnknown: boolean;
  constructor(message: string, options: { cause?: unknown; outcomeUnknown?: boolean } = {}) {
    super(message, { cause: options.cause });
    this.outcomeUnknown = options.outcomeUnknown ?? false;
  }
}

export function assertNever(value: never): never {
  throw new Error(`unexpected value: ${JSON.stringify(value)}`);
}
