// One delivery to one endpoint, as Standard Webhooks 1.0 says, and what each kind of answer means for both.
import { UnavailableError } from '../domain/errors.ts';
import { delivered, PermanentDeliveryError, RetryAfterError, type DeliveryOutcome } from '../outbox/delivery.ts';
import { isDatabaseUnavailable, type Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import {
  disableEndpoint,
  noteFailure,
  noteSuccess,
  readEndpointState,
  throttleEndpoint,
  type EndpointState,
} from './endpoint-state.ts';
import type { PostAnswer, PostWebhook } from './post-webhook.ts';
import { parseRetryAfter } from './retry-schedule.ts';
import { signatureHeader } from './signature.ts';

/** `id` is the event's: the same however often it is sent, so a receiver knows repeats by it. */
export type WebhookMessage = Readonly<{ id: string; contentType: string; body: Buffer }>;

export type SendDeps = Readonly<{
  db: Db;
  logger: Logger;
  post: PostWebhook;
  /** Told where an endpoint is disabled by what it answers. */
  onDisabled: (why: 'gone' | 'failing') => void;
}>;

export type SendWebhook = (message: WebhookMessage, signal: AbortSignal) => Promise<DeliveryOutcome>;

/** The loop of an endpoint that is disabled, or gone, ends by itself within this. */
const closedMilliseconds = 1_000;
/** For an endpoint that is overloaded and does not say for how long. */
const throttleMilliseconds = 30_000;
const userAgent = 'athyper-sagas-webhooks/1';

/**
 * Asked once for each round of the endpoint's relay, whose deliveries then go by this answer.
 * The promise never rejects; the send does, as `Deliver` says. Whatever the receiver does wrong is an attempt. Only where
 * our own database does not answer, or this process stops, is the attempt given back.
 */
export async function openEndpoint(deps: SendDeps, endpointId: string): Promise<SendWebhook> {
  let endpoint: EndpointState | undefined;
  try {
    endpoint = await readEndpointState(deps.db, endpointId);
  } catch (error) {
    return async () => await Promise.reject(new UnavailableError('the endpoint is not known', { cause: error }));
  }
  if (endpoint === undefined) return waitFor('the endpoint was deleted', closedMilliseconds);
  if (endpoint.disabled) return waitFor('the endpoint is disabled', closedMilliseconds);
  const { throttledMilliseconds } = endpoint;
  if (throttledMilliseconds > 0) return waitFor('the endpoint has asked for a pause', throttledMilliseconds);
  return async (message, signal) => await send(deps, { ...endpoint, id: endpointId }, message, signal);
}

const waitFor =
  (reason: string, milliseconds: number): SendWebhook =>
  async () =>
    await Promise.resolve({ kind: 'wait', reason, milliseconds });

async function send(
  deps: SendDeps,
  endpoint: EndpointState & Readonly<{ id: string }>,
  { id, contentType, body }: WebhookMessage,
  signal: AbortSignal,
): Promise<DeliveryOutcome> {
  const timestamp = String(Math.floor(Date.now() / 1000));
  const headers = {
    'content-type': contentType,
    'content-length': String(body.length),
    'user-agent': userAgent,
    'webhook-id': id,
    'webhook-timestamp': timestamp,
    'webhook-signature': signatureHeader(endpoint.secrets, { id, timestamp, body }),
  };
  let answer: PostAnswer;
  try {
    answer = await deps.post({ url: new URL(endpoint.url), headers, body, signal });
  } catch (error) {
    // It may have arrived: then it comes again, as after any lost answer.
    if (signal.aborted) throw new UnavailableError('the relay stops', { cause: error });
    throw await failure(deps, endpoint.id, new Error(reasonOf(error)));
  }
  if (answer.status >= 200 && answer.status <= 299) {
    // Done is done, also where it cannot be noted: another attempt would only send it twice.
    await noteSuccess(deps.db, endpoint.id).catch((err: unknown) =>
      deps.logger.warn({ err }, 'a success was not noted'),
    );
    return delivered;
  }
  throw await refusal(deps, endpoint.id, answer);
}

/** Of several addresses that were tried, the first says it. */
function reasonOf(error: unknown): string {
  const one: unknown = error instanceof AggregateError ? error.errors[0] : error;
  return one instanceof Error ? one.message : String(one);
}

/** @returns what to throw */
async function refusal(deps: SendDeps, id: string, { status, retryAfter }: PostAnswer): Promise<Error> {
  if (status === 410) return await gone(deps, id);
  if (status >= 300 && status <= 399) {
    return await failure(deps, id, new Error(`${answered(status)}: redirects are not followed`));
  }
  const wanted = parseRetryAfter(retryAfter, new Date());
  const isOverloaded = [429, 502, 504].includes(status) || (status === 503 && wanted !== undefined);
  if (!isOverloaded) return await failure(deps, id, new Error(answered(status)));
  const milliseconds = wanted ?? throttleMilliseconds;
  await noting(throttleEndpoint(deps.db, id, milliseconds));
  return await failure(deps, id, new RetryAfterError(answered(status), milliseconds));
}

const answered = (status: number): string => `the receiver answered ${status}`;

/** Of what a failed delivery keeps as its last error. @returns undefined where no answer came */
export function statusIn(lastError: string | null): number | undefined {
  const status = /the receiver answered (\d{3})\b/.exec(lastError ?? '')?.[1];
  return status === undefined ? undefined : Number(status);
}

/** It never comes back, says the receiver. First the endpoint, then the delivery: dying between costs one more 410. */
async function gone({ db, logger, onDisabled }: SendDeps, id: string): Promise<Error> {
  const reason = `${answered(410)} (gone)`;
  await noting(noteFailure(db, id, reason));
  if (await noting(disableEndpoint(db, id, reason))) {
    onDisabled('gone');
    logger.warn({ endpointId: id, reason }, 'a webhook endpoint is disabled');
  }
  return new PermanentDeliveryError(`${reason}: the endpoint is disabled`);
}

async function failure({ db, logger, onDisabled }: SendDeps, id: string, error: Error): Promise<Error> {
  if (await noting(noteFailure(db, id, error.message))) {
    onDisabled('failing');
    logger.warn({ endpointId: id, reason: error.message }, 'a webhook endpoint is disabled: it has failed for days');
  }
  return error;
}

/** @throws UnavailableError where the database does not answer: the attempt is made again and noted then */
async function noting<T>(note: Promise<T>): Promise<T> {
  try {
    return await note;
  } catch (error) {
    throw isDatabaseUnavailable(error) ? new UnavailableError('the failure was not noted', { cause: error }) : error;
  }
}
