// Everything that is refused or fails, as RFC 9457 problems. The one place where error codes become statuses.
import {
  assertNever,
  ConflictError,
  DomainError,
  UnavailableError,
  type DomainErrorCode,
} from '../../domain/errors.ts';
import { isDatabaseUnavailable } from '../../platform/database.ts';
import { jsonAnswer, type Answer } from './answer.ts';

export type FieldError = Readonly<{ field: string; message: string }>;

export type Problem = Readonly<{
  status: number;
  /** The last part of `type`. Clients switch on it, so it never changes. */
  code: string;
  detail: string;
  field?: string | undefined;
  /** Every field that is wrong, on a 400. */
  errors?: readonly FieldError[];
  headers?: Readonly<Record<string, string>>;
}>;

/** A request that is refused before, or besides, the domain. */
export class HttpError extends Error {
  override readonly name = 'HttpError';
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }
}

/** @param errors at least one; the first gives `field` and `detail` */
export function invalidInput(errors: readonly FieldError[]): HttpError {
  const [first] = errors;
  const detail = first === undefined ? 'the request is not valid' : `${first.field}: ${first.message}`;
  return new HttpError({ status: 400, code: 'invalid-input', detail, field: first?.field, errors });
}

export const notFound = (code: string, detail: string): HttpError => new HttpError({ status: 404, code, detail });

/** Seconds. Long enough not to hammer what is away, short enough for a caller that waits. */
const retryAfter = { 'Retry-After': '1' };

export function problemOf(error: unknown): Problem {
  if (error instanceof HttpError) return error.problem;
  if (error instanceof DomainError) {
    return { status: statusOf(error.code), code: error.code, detail: error.message, field: error.field };
  }
  if (error instanceof ConflictError) {
    const detail = 'somebody else changed the same thing at the same time; try again';
    return { status: 409, code: 'conflict', detail, headers: retryAfter };
  }
  if (error instanceof UnavailableError || isDatabaseUnavailable(error)) {
    const detail = 'something that this needs is not available at the moment; try again';
    return { status: 503, code: 'unavailable', detail, headers: retryAfter };
  }
  return (
    problemOfParser(error) ?? { status: 500, code: 'internal-error', detail: 'an error on our side; it was logged' }
  );
}

function statusOf(code: DomainErrorCode): 404 | 409 | 422 {
  switch (code) {
    case 'order-not-found':
    case 'item-not-found':
    case 'product-not-found':
    case 'payment-not-found':
    case 'user-not-found':
      return 404;
    case 'order-not-draft':
    case 'order-not-submitted':
    case 'order-not-confirmed':
    case 'order-not-cancelled':
    case 'order-ended':
    case 'stock-below-reserved':
    case 'reservation-gone':
    case 'payment-closed':
    case 'email-taken':
    case 'cancellation-requested':
    case 'saga-ended':
    case 'step-not-parked':
    case 'action-not-possible':
      return 409;
    case 'order-empty':
    case 'order-too-large':
    case 'price-mismatch':
    case 'unknown-product':
    case 'out-of-stock':
    case 'currency-not-supported':
    case 'payment-declined':
    case 'payment-failed':
    case 'payment-deadline-passed':
    case 'payment-unavailable':
    case 'payment-mismatch':
    case 'refund-exceeds-held':
    case 'step-limit-exceeded':
    case 'reference-missing':
      return 422;
    default:
      return assertNever(code);
  }
}

/** What express and its body parser throw carries a 4xx status; their messages are not ours to promise. */
function problemOfParser(error: unknown): Problem | undefined {
  if (!(error instanceof Error) || !('status' in error) || typeof error.status !== 'number') return undefined;
  const { status } = error;
  if (status === 413) return { status, code: 'body-too-large', detail: 'the body is larger than 256 kB' };
  if (status === 415)
    return { status, code: 'unsupported-media-type', detail: 'this content encoding is not supported' };
  if (status < 400 || status > 499) return undefined;
  return { status: 400, code: 'malformed-request', detail: 'the request could not be read' };
}

/** The correlation id is in the body as well, so that a screenshot of an error leads to its log lines. */
export function problemAnswer(problem: Problem, correlationId: string): Answer {
  const { status, code, detail, field, errors, headers } = problem;
  const words = code.replaceAll('-', ' ');
  const body = {
    type: `urn:problem-type:athyper-sagas:${code}`,
    title: words.charAt(0).toUpperCase() + words.slice(1),
    status,
    detail,
    ...(field === undefined ? {} : { field }),
    ...(errors === undefined ? {} : { errors }),
    correlationId,
  };
  return jsonAnswer(status, body, { ...headers, 'Content-Type': 'application/problem+json' });
}
