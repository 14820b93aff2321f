// The relay's loop of the destination `integration-events`: from the outbox to the Redis stream that others read.
import { integrationQueue, type IntegrationEvent } from '../domain/integration-event.ts';
import { readIntegrationEvent } from '../integration/integration-outbox.ts';
import { createIntegrationStream } from '../integration/integration-stream.ts';
import { defaultBackoff } from '../outbox/delivery.ts';
import { createRelay, type OutboxProcessor } from '../outbox/relay.ts';
import { afterDeadLetter } from '../sagas/event-routes.ts';
import type { Parts } from './parts.ts';

export type IntegrationRelay = Readonly<{
  /** By destination; none without Redis. Not started. */
  loops: Readonly<Record<string, OutboxProcessor>>;
  /** After the loops have stopped. */
  close(): void;
}>;

export function createIntegrationRelay({ settings, db, wakeUp, logger, observers }: Parts): IntegrationRelay {
  if (settings.redisUrl === undefined) return { loops: {}, close: () => undefined };
  const destination = integrationQueue;
  const stream = createIntegrationStream({ url: settings.redisUrl, logger, stream: destination });
  const loop = createRelay<IntegrationEvent>({
    db,
    wakeUp,
    decode: readIntegrationEvent,
    logger: logger.child({ destination }),
    observe: observers.relay(destination),
    policy: {
      destination,
      deliver: stream.deliver,
      untilBack: stream.untilBack,
      afterDeadLetter: afterDeadLetter[destination],
      mostAttempts: 10,
      concurrency: 5,
      backoff: defaultBackoff,
    },
  });
  return { loops: { [destination]: loop }, close: stream.close };
}
