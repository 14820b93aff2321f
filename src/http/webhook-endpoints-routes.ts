// Webhook endpoints of a tenant: where integration events go, and the secrets that sign them.
import { Router, type Request } from 'express';
import { z } from 'zod';
import { isId, newId } from '../domain/ids.ts';
import type { AddressGuard } from '../webhooks/address-guard.ts';
import { isSecret, newSecret, secretRule } from '../webhooks/signature.ts';
import type { WebhookEndpoint, WebhookEndpoints } from '../webhooks/webhook-endpoints.ts';
import { idOfAttempt, type Idempotent } from './idempotency/idempotent.ts';
import { emptyAnswer, jsonAnswer } from './protocol/answer.ts';
import { bodyOf } from './protocol/body.ts';
import { parse, text } from './protocol/fields.ts';
import { HttpError, notFound } from './protocol/problems.ts';
import { pathPart, serve } from './protocol/routes.ts';

export type WebhookParts = Readonly<{
  endpoints: WebhookEndpoints;
  guard: AddressGuard;
  /** That an endpoint may ask for. */
  eventTypes: readonly string[];
}>;

const secret = z.string().refine(isSecret, secretRule).optional();
const oneDay = 86_400;
const rotationSchema = z.strictObject({
  secret,
  overlapSeconds: z
    .int()
    .min(0)
    .max(30 * oneDay)
    .default(oneDay),
});
const nothing = z.strictObject({}).default({});

const endpointSchema = (eventTypes: readonly string[]) =>
  z.strictObject({
    url: text(1, 2048).refine((given) => URL.canParse(given), 'must be a URL'),
    events: z
      .array(
        z.string().refine((type) => type === '*' || eventTypes.includes(type), {
          error: `must be * or one of ${eventTypes.join(', ')}`,
        }),
      )
      .min(1)
      .max(100)
      .transform((types) => [...new Set(types)]),
    secret,
  });

export function createWebhookEndpointsRouter(
  deps: Readonly<{ webhooks: WebhookParts; idempotent: Idempotent; poke: () => void }>,
): Router {
  const { idempotent, poke } = deps;
  const { endpoints, guard, eventTypes } = deps.webhooks;
  const newEndpoint = endpointSchema(eventTypes);
  const router = Router({ caseSensitive: true });

  serve(router, '/webhook-endpoints', {
    get: async ({ metadata }) => jsonAnswer(200, { endpoints: (await endpoints.list(metadata.tenantId)).map(viewOf) }),
    // The id comes from the key, so however often the request is sent, it makes one endpoint. The answer that is kept for
    // a repeat holds the secret, as the endpoint's own row does, for a day: whoever lost the answer needs it.
    post: idempotent(async ({ request, metadata: { tenantId } }, attempt) => {
      const wanted = parse(newEndpoint, bodyOf(request));
      const url = allowedUrl(guard, wanted.url);
      const id = attempt === undefined ? newId() : idOfAttempt(attempt);
      mustHaveRoom(await endpoints.list(tenantId), id);
      const created = { id, url, events: wanted.events, secret: wanted.secret ?? newSecret() };
      const kept = await endpoints.create(tenantId, created);
      const view = viewOf(found(await endpoints.find(tenantId, id), id));
      return jsonAnswer(201, { ...view, secret: kept }, { Location: `/webhook-endpoints/${id}` });
    }),
  });

  serve(router, '/webhook-endpoints/:endpointId', {
    get: async ({ request, metadata: { tenantId } }) => {
      const id = endpointIdOf(request);
      return jsonAnswer(200, viewOf(found(await endpoints.find(tenantId, id), id)));
    },
    delete: async ({ request, metadata: { tenantId } }) => {
      const id = endpointIdOf(request);
      if (!(await endpoints.remove(tenantId, id))) throw endpointNotFound(id);
      return emptyAnswer;
    },
  });

  serve(router, '/webhook-endpoints/:endpointId/rotate-secret', {
    post: idempotent(async ({ request, metadata: { tenantId } }, attempt) => {
      const id = endpointIdOf(request);
      const wanted = parse(rotationSchema, bodyOf(request) ?? {});
      const { overlapSeconds } = wanted;
      const rotation = { secret: wanted.secret ?? newSecret(), overlapSeconds, command: attempt?.commandKey };
      return jsonAnswer(200, { id, secret: found(await endpoints.rotateSecret(tenantId, id, rotation), id) });
    }),
  });

  serve(router, '/webhook-endpoints/:endpointId/enable', {
    post: idempotent(async ({ request, metadata: { tenantId } }) => {
      const id = endpointIdOf(request);
      parse(nothing, bodyOf(request));
      const view = viewOf(found(await endpoints.enable(tenantId, id), id));
      poke();
      return jsonAnswer(200, view);
    }),
  });
  return router;
}

/** Each event is written once for each that wants it, in one transaction; and hanging ones take places of others. */
const mostEndpoints = 50;

/** @param id of the one that is to be made; one that is there already takes no room. Two at once may both get the last. */
function mustHaveRoom(there: readonly WebhookEndpoint[], id: string): void {
  if (there.length < mostEndpoints || there.some((endpoint) => endpoint.id === id)) return;
  const detail = `there are ${there.length} endpoints; ${mostEndpoints} is the most for a tenant`;
  throw new HttpError({ status: 409, code: 'too-many-endpoints', detail });
}

function allowedUrl(guard: AddressGuard, given: string): string {
  const url = new URL(given);
  const refusal = guard.refusalOf(url);
  if (refusal === undefined) return url.href;
  throw new HttpError({ status: 422, code: 'url-not-allowed', detail: `url: ${refusal}`, field: 'url' });
}

const viewOf = (endpoint: WebhookEndpoint) => {
  const { id, url, events, createdAt, disabledAt, throttledUntil, ...rest } = endpoint;
  const status = disabledAt !== null ? 'disabled' : throttledUntil !== null ? 'throttled' : 'enabled';
  return { id, url, events, status, createdAt, disabledAt, throttledUntil, ...rest };
};

/** What is no UUID is no endpoint: 404, as for one of another tenant. In small letters, as ids are stored. */
export function endpointIdOf(request: Request): string {
  const id = pathPart(request, 'endpointId');
  if (!isId(id)) throw endpointNotFound(id);
  return id.toLowerCase();
}

const endpointNotFound = (id: string): HttpError =>
  notFound('webhook-endpoint-not-found', `there is no webhook endpoint ${id}`);

/** @throws HttpError 404 where there is none */
export function found<T>(value: T | undefined, id: string): T {
  if (value === undefined) throw endpointNotFound(id);
  return value;
}
