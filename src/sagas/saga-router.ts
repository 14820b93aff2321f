// The `deliver` of destination `temporal`: looks up what the event means to the sagas, and does it.
import type { StoredEvent } from '../domain/event.ts';
import { delivered, PermanentDeliveryError, type Deliver, type DeliveryOutcome } from '../outbox/delivery.ts';
import type { SagaEventType } from './event-routes.ts';
import type { SagaAction, SagaRoute, SagaRouteDeps } from './saga-route.ts';
import type { SagaClient, SagaStartRequest } from './saga-client.ts';
import { sagaRoutes } from './saga-routes.ts';
import type { SagaStarts } from './saga-starts.ts';

export type SagaRouterDeps = SagaRouteDeps & Readonly<{ client: SagaClient; starts: SagaStarts }>;

/** A start that is under way takes milliseconds; the signal behind it keeps its place and its attempts. */
const waitForStart: DeliveryOutcome = { kind: 'wait', reason: 'the saga is not started yet', milliseconds: 200 };

/** An event that a saga's own step wrote never comes here: see event-routes. */
export function createSagaRouter(deps: SagaRouterDeps): Deliver {
  return async ({ event }) => {
    // The table ties each route to its type; a lookup by name cannot say so.
    const route = (sagaRoutes as Readonly<Record<string, SagaRoute<SagaEventType> | undefined>>)[event.eventType];
    if (route === undefined) throw new PermanentDeliveryError(`no saga takes ${event.eventType}`);
    return await perform(deps, event, await route(event as Parameters<typeof route>[0], deps));
  };
}

async function perform(deps: SagaRouterDeps, event: StoredEvent, action: SagaAction): Promise<DeliveryOutcome> {
  switch (action.kind) {
    case 'nothing':
      return delivered;
    case 'wait':
      return action;
    case 'start':
      return await startOnce(deps, event, action.request);
    case 'signal': {
      const { client, starts } = deps;
      if ((await starts.find(action.workflowId))?.state !== 'started') return waitForStart;
      if (await client.signal(action.workflowId, action.signal, action.message)) return delivered;
      return await perform(deps, event, await action.whenEnded());
    }
  }
}

/** `starting` is written, Temporal is called with no transaction open, then `started`: only that skips the call. */
async function startOnce(
  { client, starts }: SagaRouterDeps,
  event: StoredEvent,
  request: SagaStartRequest,
): Promise<DeliveryOutcome> {
  const before = await starts.begin(request.workflowId, event.aggregateId, event.eventId);
  if (before?.state === 'started') return delivered;
  await starts.markStarted(request.workflowId, await client.start(request));
  return delivered;
}
