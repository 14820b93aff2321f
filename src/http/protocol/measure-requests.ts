// How long each request took, by the pattern of its route: paths hold ids, and would be names without end.
import type { Request, RequestHandler } from 'express';

export type ObserveRequest = (
  request: Readonly<{ route: string; method: string; status: number; seconds: number }>,
) => void;

/** What nginx says of a client that did not wait for its answer. */
const clientGone = 499;

export function measureRequests(observe: ObserveRequest): RequestHandler {
  return (request, response, next) => {
    const started = performance.now();
    const { method } = request;
    response.once('close', () => {
      const status = response.writableFinished ? response.statusCode : clientGone;
      observe({ route: routeOf(request), method, status, seconds: (performance.now() - started) / 1000 });
    });
    next();
  };
}

/** `none` for what no route knows, or what was refused before one was looked for. */
function routeOf(request: Request): string {
  const route = request.route as Readonly<{ path?: unknown }> | undefined;
  return typeof route?.path === 'string' ? route.path : 'none';
}
