// Routes as functions from a request to an answer, and the answers that every path owes: 405 and OPTIONS.
import type { Request, RequestHandler, Response, Router } from 'express';
import type { EventMetadata } from '../../domain/event.ts';
import type { Answer } from './answer.ts';
import { HttpError } from './problems.ts';
import { metadataOf } from './request-context.ts';

export type Exchange = Readonly<{
  request: Request;
  metadata: EventMetadata;
  /** Aborts when nobody waits for the answer any more. */
  clientGone: AbortSignal;
}>;
export type Handler = (exchange: Exchange) => Promise<Answer>;

type Methods = Readonly<{ get?: Handler; put?: Handler; patch?: Handler; post?: RequestHandler; delete?: Handler }>;

/**
 * All methods of one path. A `post` is a RequestHandler, because it has to come from `idempotent`, or say why not by
 * `respond`.
 */
export function serve(router: Router, path: string, methods: Methods): void {
  const route = router.route(path);
  if (methods.get !== undefined) route.get(respond(methods.get));
  if (methods.put !== undefined) route.put(respond(methods.put));
  if (methods.patch !== undefined) route.patch(respond(methods.patch));
  if (methods.post !== undefined) route.post(methods.post);
  if (methods.delete !== undefined) route.delete(respond(methods.delete));
  const names = Object.keys(methods).map((name) => name.toUpperCase());
  const Allow = [...names, ...(methods.get === undefined ? [] : ['HEAD']), 'OPTIONS'].join(', ');
  route.all((request, response) => {
    if (request.method === 'OPTIONS') {
      sendAnswer(response, { status: 204, headers: { Allow }, body: undefined });
      return;
    }
    throw methodNotAllowed(request.method, Allow);
  });
}

export function methodNotAllowed(method: string, Allow: string): HttpError {
  const detail = `${method} is not allowed here; ${Allow} are`;
  return new HttpError({ status: 405, code: 'method-not-allowed', detail, headers: { Allow } });
}

export function respond(handler: Handler): RequestHandler {
  return async (request, response) => {
    const gone = new AbortController();
    response.once('close', () => {
      gone.abort();
    });
    sendAnswer(response, await handler({ request, metadata: metadataOf(request), clientGone: gone.signal }));
  };
}

export function sendAnswer(response: Response, { status, headers, body }: Answer): void {
  response.status(status);
  // Not by express, which would add a charset to the content type; JSON has none.
  response.setHeaders(new Map(Object.entries(headers)));
  if (body === undefined) response.end();
  else response.send(Buffer.from(body));
}

/** A part of the path; the route's pattern guarantees that it is there. */
export function pathPart(request: Request, name: string): string {
  const part = request.params[name];
  if (typeof part !== 'string') throw new Error(`the route has no part ${name}`);
  return part;
}
