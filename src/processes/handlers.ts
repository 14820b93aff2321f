// The plain reactions with all that they need: handlers on the bus, those of extensions too, and the jobs that they enqueue.
import type { BusTransport } from '../bus/event-bus.ts';
import type { EventCatalogue } from '../domain/event.ts';
import { createShipmentBook } from '../fulfilment/shipment-book.ts';
import { createShipmentJob } from '../handlers/create-shipment-job.ts';
import { createRefundJob } from '../handlers/refund-job.ts';
import { registerEventHandlers } from '../handlers/register-event-handlers.ts';
import { registerIntegrationHandlers } from '../handlers/register-integration-handlers.ts';
import { createSagaStarts } from '../sagas/saga-starts.ts';
import { createUserRepository } from '../users/user-repository.ts';
import { endpointsFor } from '../webhooks/webhook-endpoints.ts';
import { busInFrontOf } from './bus.ts';
import type { Parts } from './parts.ts';

/**
 * The service's handlers, and those of its extensions. In every process that delivers events to handlers: the relay, or,
 * with Redis, the consumers.
 */
export function subscribeHandlers(parts: Parts, transport: BusTransport): void {
  const { jobQueue, metricsRegistry, logger, extensions, settings } = parts;
  const userRepository = createUserRepository(parts);
  registerEventHandlers(busInFrontOf(parts, transport), { jobQueue, metricsRegistry, userRepository });
  registerIntegrationHandlers(busInFrontOf(parts, transport), { queue: settings.redisUrl !== undefined, endpointsFor });
  const bus = busInFrontOf<EventCatalogue>(parts, transport);
  for (const { name, handlers } of extensions) {
    handlers?.(bus, { jobQueue: withKeysOf(name, jobQueue), metricsRegistry, logger });
  }
}

/** A key that an extension chooses is none of the service's, nor another extension's. */
const withKeysOf = (extension: string, jobQueue: Parts['jobQueue']): Parts['jobQueue'] => ({
  add: async (name, data, options = {}) =>
    await jobQueue.add(name, data, {
      ...options,
      ...(options.key === undefined ? {} : { key: `${extension}:${options.key}` }),
    }),
});

/** What the jobs do that need nothing but our own parts. */
export function createReactionJobs(parts: Parts) {
  const { db, store, unitOfWork, gateway, logger, repository: orderRepository } = parts;
  const starts = createSagaStarts(db);
  const fulfilmentService = createShipmentBook(db);
  return {
    refund: createRefundJob({ db, store, unitOfWork, orderRepository, gateway, starts, logger }),
    'create-shipment': createShipmentJob({ store, orderRepository, fulfilmentService, logger }),
  };
}
