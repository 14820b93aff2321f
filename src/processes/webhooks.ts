// In the relay's process: takes integration events to webhook endpoints, whichever of them have some.
import { cloudEventOf, contentType } from '../integration/cloud-event.ts';
import { readIntegrationEvent } from '../integration/integration-outbox.ts';
import type { IntegrationEvent } from '../domain/integration-event.ts';
import type { Deliver } from '../outbox/delivery.ts';
import { createRelay, type OutboxProcessor, type RelayObserver } from '../outbox/relay.ts';
import { createAddressGuard } from '../webhooks/address-guard.ts';
import { openEndpoint, type WebhookMessage } from '../webhooks/deliver-webhook.ts';
import type { DueEndpoint } from '../webhooks/due-endpoints.ts';
import { createPostWebhook, type PostWebhook } from '../webhooks/post-webhook.ts';
import { waitsBeforeAttempts, webhookSchedule } from '../webhooks/retry-schedule.ts';
import { allWebhooks, createWebhookDispatcher, type EndpointRelay } from '../webhooks/webhook-dispatcher.ts';
import type { Parts } from './parts.ts';

/** Of one endpoint; each is of another aggregate. */
const concurrency = 4;

/** `loop`: that of all endpoints together; an endpoint that is down does not make it late. */
export type RunningWebhooks = Readonly<{ loop: OutboxProcessor; stop(): Promise<void> }>;

export function startWebhooks(parts: Parts): RunningWebhooks {
  const loop = createWebhooks(parts);
  loop.start();
  return { loop, stop: async () => await loop.stop() };
}

/** Not started: for whoever runs its rounds. */
export function createWebhooks(parts: Parts, post: PostWebhook = guardedPost(parts)): OutboxProcessor {
  const { db, wakeUp, observers } = parts;
  const logger = parts.logger.child({ destination: allWebhooks });
  const send = { db, logger, post, onDisabled: observers.webhookDisabled };
  const observe = observers.relay(allWebhooks);

  function relayFor({ id, destination }: DueEndpoint, signal: AbortSignal): EndpointRelay {
    const away = watchAway(observe);
    const begin = async (): Promise<Deliver<IntegrationEvent>> => {
      const open = await openEndpoint(send, id);
      return async ({ event }) => await open(messageOf(event), signal);
    };
    const relay = createRelay<IntegrationEvent>({
      db,
      wakeUp,
      decode: readIntegrationEvent,
      logger: logger.child({ destination }),
      observe: away.observe,
      policy: {
        destination,
        begin,
        deliver: async (delivery) => await (await begin())(delivery),
        // One event that a receiver refuses for days must not hold up its order for ever.
        afterDeadLetter: 'continue',
        mostAttempts: waitsBeforeAttempts.length,
        concurrency,
        backoff: webhookSchedule,
      },
    });
    return { relay, wasAway: away.wasAway };
  }

  return createWebhookDispatcher({ db, wakeUp, logger, relayFor });
}

const guardedPost = ({ settings }: Parts): PostWebhook =>
  createPostWebhook({ guard: createAddressGuard({ allowPrivate: settings.webhooksAllowPrivate }) });

/** @throws PermanentDeliveryError where it is too large to be sent */
function messageOf(event: IntegrationEvent): WebhookMessage {
  return { id: event.eventId, contentType, body: Buffer.from(JSON.stringify(cloudEventOf(event))) };
}

function watchAway(observe: RelayObserver): Readonly<{ observe: RelayObserver; wasAway(): boolean }> {
  let away = false;
  return {
    observe: {
      ...observe,
      attempted(outcome, seconds) {
        // Or too early: the endpoint was closed, or asked for a pause, since it was found to be due.
        away ||= outcome === 'away' || outcome === 'wait';
        observe.attempted(outcome, seconds);
      },
    },
    wasAway() {
      const was = away;
      away = false;
      return was;
    },
  };
}
