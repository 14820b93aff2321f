// Idempotency-Key on a POST: the same request again gets the same answer, and its command runs once.
import { createHash } from 'node:crypto';
import type { RequestHandler } from 'express';
import { v7 } from 'uuid';
import type { Db } from '../../platform/database.ts';
import type { Logger } from '../../platform/logger.ts';
import type { Answer } from '../protocol/answer.ts';
import { bodyOf } from '../protocol/body.ts';
import { HttpError, invalidInput, problemAnswer, problemOf } from '../protocol/problems.ts';
import { correlationIdOf } from '../protocol/request-context.ts';
import { respond, type Exchange, type Handler } from '../protocol/routes.ts';
import { claimKey, keepAnswer, releaseKey, type Claim, type KeyScope } from './idempotency-keys.ts';

/** Of a command with a key; undefined without. See `Claim` for what it promises. */
export type Attempt = Pick<Claim, 'commandKey' | 'firstSeenAt' | 'repeated'> | undefined;
export type CommandHandler = (exchange: Exchange, attempt: Attempt) => Promise<Answer>;
export type Idempotent = (handler: CommandHandler) => RequestHandler;

/** Visible ASCII. */
const keyPattern = /^[\x21-\x7e]{1,255}$/;

/**
 * A process that dies after its command has committed and before the answer is kept leaves a claim that ends by time;
 * the attempt after that is `repeated`, and the handler must find out what the first one did.
 */
export function createIdempotent(deps: Readonly<{ db: Db; logger: Logger }>): Idempotent {
  const { db } = deps;
  const run =
    (handler: CommandHandler): Handler =>
    async (exchange) => {
      const { request, metadata } = exchange;
      const key = request.get('Idempotency-Key');
      if (key === undefined) return await handler(exchange, undefined);
      if (!keyPattern.test(key)) {
        throw invalidInput([{ field: 'Idempotency-Key', message: 'must be 1 to 255 visible ASCII characters' }]);
      }
      const path = `${request.baseUrl}${request.path}`;
      const scope = { tenantId: metadata.tenantId, method: request.method, path, key };
      // Fails closed: without the row nobody knows whether the command has run.
      const claimed = await claimKey(db, scope, bodyOf(request));
      switch (claimed.kind) {
        case 'claimed':
          return await runClaimed(deps, scope, claimed.claim, handler, exchange);
        case 'finished':
          return { ...claimed.answer, headers: { ...claimed.answer.headers, 'Idempotency-Replayed': 'true' } };
        case 'other-body':
          throw new HttpError({
            status: 422,
            code: 'idempotency-key-reused',
            detail: 'this key was sent before, with another body',
            field: 'Idempotency-Key',
          });
        case 'in-flight':
          throw new HttpError({
            status: 409,
            code: 'idempotency-key-in-flight',
            detail: 'a request with this key is being worked on',
            headers: { 'Retry-After': '1' },
          });
      }
    };
  return (handler) => respond(run(handler));
}

async function runClaimed(
  { db, logger }: Readonly<{ db: Db; logger: Logger }>,
  scope: KeyScope,
  claim: Claim,
  handler: CommandHandler,
  exchange: Exchange,
): Promise<Answer> {
  // The answer is the truth whether or not it could be kept; unkept, the claim ends by time.
  const record = async (work: Promise<void>): Promise<void> => {
    await work.catch((error: unknown) => {
      logger.warn({ err: error, correlationId: exchange.metadata.correlationId }, 'an idempotency key was not updated');
    });
  };
  try {
    const answer = await handler(exchange, claim);
    await record(keepAnswer(db, scope, claim, answer));
    return answer;
  } catch (error) {
    const problem = problemOf(error);
    // "Our fault" and "try again" are no answers to keep: they would make every retry fail.
    if (problem.status >= 500 || problem.headers?.['Retry-After'] !== undefined) {
      await record(releaseKey(db, scope, claim));
      throw error;
    }
    const answer = problemAnswer(problem, correlationIdOf(exchange.request));
    await record(keepAnswer(db, scope, claim, answer));
    return answer;
  }
}

/** A UUIDv7 that is the same in every attempt, and sorts by time as a fresh one does: orders are listed by their ids. */
export function idOfAttempt({ commandKey, firstSeenAt }: NonNullable<Attempt>): string {
  return v7({ msecs: firstSeenAt.getTime(), random: createHash('sha256').update(commandKey).digest() });
}
