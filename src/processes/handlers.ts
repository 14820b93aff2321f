// The plain reactions with all that they need: handlers on the bus, and the jobs that they enqueue.
import type { BusTransport } from '../bus/event-bus.ts';
import { createShipmentBook } from '../fulfilment/shipment-book.ts';
import { createShipmentJob } from '../handlers/create-shipment-job.ts';
import { createRefundJob } from '../handlers/refund-job.ts';
import { registerEventHandlers } from '../handlers/register-event-handlers.ts';
import { createSagaStarts } from '../sagas/saga-starts.ts';
import { createUserRepository } from '../users/user-repository.ts';
import { busInFrontOf } from './bus.ts';
import type { Parts } from './parts.ts';

/** In every process that delivers events to handlers: the relay, or, with Redis, the consumers. */
export function subscribeHandlers(parts: Parts, transport: BusTransport): void {
  const { jobQueue, metricsRegistry } = parts;
  const userRepository = createUserRepository(parts);
  registerEventHandlers(busInFrontOf(parts, transport), { jobQueue, metricsRegistry, userRepository });
}

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
