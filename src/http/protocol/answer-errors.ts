// The ends of the chain: what no route knows, and what a route has thrown.
import type { ErrorRequestHandler, RequestHandler } from 'express';
import type { Logger } from '../../platform/logger.ts';
import { notFound, problemAnswer, problemOf } from './problems.ts';
import { correlationIdOf } from './request-context.ts';
import { sendAnswer } from './routes.ts';

export const answerUnknownPath: RequestHandler = (request) => {
  throw notFound('not-found', `there is nothing at ${request.path}`);
};

/** The cause goes to the log and never to the client. Without a logger: for an app in which nothing can fail. */
export function answerErrors(logger?: Logger): ErrorRequestHandler {
  return (error: unknown, request, response, next) => {
    const correlationId = correlationIdOf(request);
    const problem = problemOf(error);
    if (problem.status === 503) logger?.warn({ err: error, correlationId }, 'a request met something that is away');
    else if (problem.status >= 500) logger?.error({ err: error, correlationId }, 'a request failed');
    // Half an answer is out already: express ends the connection.
    if (response.headersSent) next(error);
    else sendAnswer(response, problemAnswer(problem, correlationId));
  };
}
