// Whose request it is, and what its events and log lines carry on: correlation id, actor, trace.
import type { Request, RequestHandler } from 'express';
import type { EventMetadata } from '../../domain/event.ts';
import { newId } from '../../domain/ids.ts';
import { isPathSafe, pathSafeRule } from './fields.ts';
import { invalidInput } from './problems.ts';
import { parseTraceparent } from './traceparent.ts';

const correlationIds = new WeakMap<Request, string>();
const callers = new WeakMap<Request, Readonly<{ tenantId: string; userId: string | undefined }>>();

/** First of all: everything after it can be found by this id. A bad one is replaced, for it is no reason to refuse. */
export const takeCorrelationId: RequestHandler = (request, response, next) => {
  const given = request.get('X-Correlation-Id');
  const correlationId = given !== undefined && isPathSafe(given) ? given : newId();
  correlationIds.set(request, correlationId);
  response.set('X-Correlation-Id', correlationId);
  next();
};

/**
 * A bad tenant or user is refused, never replaced: the default tenant's data are not for whoever misspells their own,
 * and an actor that is left out is one that nobody finds later.
 */
export const takeCaller: RequestHandler = (request, _response, next) => {
  const tenantId = request.get('X-Tenant-Id') ?? 'default';
  const userId = request.get('X-User-Id');
  const wrong = [
    ...(isPathSafe(tenantId) ? [] : ['X-Tenant-Id']),
    ...(userId === undefined || isPathSafe(userId) ? [] : ['X-User-Id']),
  ];
  if (wrong.length > 0) throw invalidInput(wrong.map((field) => ({ field, message: pathSafeRule })));
  callers.set(request, { tenantId, userId });
  next();
};

export const correlationIdOf = (request: Request): string => correlationIds.get(request) ?? 'none';

/** For what has no tenant and no user of its own. */
export function tracingOf(request: Request): Pick<EventMetadata, 'correlationId' | 'traceparent'> {
  const traceparent = parseTraceparent(request.get('traceparent'));
  return { correlationId: correlationIdOf(request), ...(traceparent === undefined ? {} : { traceparent }) };
}

/** For commands and queries alike. Behind `takeCaller` only. */
export function metadataOf(request: Request): EventMetadata {
  const caller = callers.get(request);
  if (caller === undefined) throw new Error('a route that needs a tenant stands before takeCaller');
  const { tenantId, userId } = caller;
  return { tenantId, ...(userId === undefined ? {} : { userId }), ...tracingOf(request) };
}
