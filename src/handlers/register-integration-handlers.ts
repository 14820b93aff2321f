// From the bus to the world outside: translates an event once, and writes a delivery for each who is to hear of it.
import type { EventBus } from '../bus/durable-event-bus.ts';
import type { catalogue } from '../domain/catalogue.ts';
import type { IntegrationEventType } from '../domain/integration-catalogue.ts';
import { integrationQueue } from '../domain/integration-event.ts';
import { enqueueIntegrationEvent } from '../integration/integration-outbox.ts';
import { translate, translatedTypes } from '../integration/translate.ts';
import type { Tx } from '../platform/database.ts';

/**
 * Never rename it: the inbox knows it by this. Under another name what is in flight would be translated again; each
 * destination has its delivery by then, and gets none twice.
 */
const name = 'integration.translate';

/** Which webhooks want it, read in the handler's transaction. @returns names of destinations, in any order */
export type EndpointsFor = (
  tx: Tx,
  wanted: Readonly<{ tenantId: string; eventType: IntegrationEventType }>,
) => Promise<readonly string[]>;

export type IntegrationHandlersDeps = Readonly<{
  /** Whether there is a Redis for the stream `integration-events`: without, deliveries to it would wait for ever. */
  queue: boolean;
  endpointsFor?: EndpointsFor;
}>;

/**
 * Here and not in the append, so that no business transaction reads who listens. An event that no destination wants is
 * translated for nobody: who registers later hears of what is handled from then on.
 * @returns a function that removes the handlers again
 */
export function registerIntegrationHandlers(
  eventBus: EventBus<typeof catalogue>,
  { queue, endpointsFor = async () => await Promise.resolve([]) }: IntegrationHandlersDeps,
): () => void {
  const always = queue ? [integrationQueue] : [];
  const unsubscribes = translatedTypes.map((type) =>
    eventBus.subscribe(
      type,
      async (domainEvent, { tx }) => {
        const event = translate(domainEvent);
        if (event === undefined) return;
        const { tenantId } = domainEvent.metadata;
        const endpoints = await endpointsFor(tx, { tenantId, eventType: event.eventType });
        await enqueueIntegrationEvent(tx, event, [...always, ...endpoints]);
      },
      { name },
    ),
  );
  return () => {
    for (const unsubscribe of unsubscribes) unsubscribe();
  };
}
