// Whose request it is, and the id that its events and log lines share.
import type { Request, RequestHandler } from 'express';
import type { EventMetadata } from '../../domain/event.ts';
import { newId } from '../../domain/ids.ts';
import { isPathSafe, pathSafeRule } from './fields.ts';
import { invalidInput } from './problems.ts';

const correlationIds = new WeakMap<Request, string>();
const tenants = new WeakMap<Request, string>();

/** First of all: everything after it can be found by this id. A bad one is replaced, for it is no reason to refuse. */
export const takeCorrelationId: RequestHandler = (request, response, next) => {
  const given = request.get('X-Correlation-Id');
  const correlationId = given !== undefined && isPathSafe(given) ? given : newId();
  correlationIds.set(request, correlationId);
  response.set('X-Correlation-Id', correlationId);
  next();
};

/** A bad tenant is refused, never replaced: the default tenant's data are not for whoever misspells their own. */
export const takeTenant: RequestHandler = (request, _response, next) => {
  const tenantId = request.get('X-Tenant-Id') ?? 'default';
  if (!isPathSafe(tenantId)) throw invalidInput([{ field: 'X-Tenant-Id', message: pathSafeRule }]);
  tenants.set(request, tenantId);
  next();
};

export const correlationIdOf = (request: Request): string => correlationIds.get(request) ?? 'none';

/** For commands and queries alike. Behind `takeTenant` only. */
export function metadataOf(request: Request): EventMetadata {
  const tenantId = tenants.get(request);
  if (tenantId === undefined) throw new Error('a route that needs a tenant stands before takeTenant');
  return { tenantId, correlationId: correlationIdOf(request) };
}
