// One log line for each request, when its answer is out or its client is gone.
import type { RequestHandler } from 'express';
import type { Logger } from '../../platform/logger.ts';
import { correlationIdOf } from './request-context.ts';

/** Without query strings and bodies: both may hold what does not belong into a log. */
export function logRequests(logger: Logger): RequestHandler {
  return (request, response, next) => {
    const started = performance.now();
    const { method } = request;
    // Routers change `path` on the way.
    const { path } = request;
    response.once('close', () => {
      const ms = Math.round(performance.now() - started);
      const line = { method, path, status: response.statusCode, ms, correlationId: correlationIdOf(request) };
      if (response.writableFinished) logger.info(line, 'request');
      else logger.info({ ...line, clientGone: true }, 'request');
    });
    next();
  };
}
