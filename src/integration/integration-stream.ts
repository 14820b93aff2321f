// The queue of integration events: a Redis stream that others read, each entry one CloudEvent.
import { UnavailableError } from '../domain/errors.ts';
import type { IntegrationEvent } from '../domain/integration-event.ts';
import { delivered, describeError, DestinationMisconfiguredError, type DestinationPolicy } from '../outbox/delivery.ts';
import { createGate } from '../outbox/gate.ts';
import type { Logger } from '../platform/logger.ts';
import { connectSendingRedis, untilReady, type RedisConnection } from '../platform/redis.ts';
import { cloudEventOf } from './cloud-event.ts';

/**
 * Who reads the stream, and how far, is not known here, so nothing is cut by length: a burst must not push out what
 * nobody has read. By age instead: who does not read for so long has lost what is older.
 */
const keptMilliseconds = 7 * 24 * 3_600_000;
/** A connection that is being made is waited for so long; the gate asks at most four times a second. */
const readyMilliseconds = 1_000;

export type IntegrationStreamDeps = Readonly<{ url: string; logger: Logger; stream: string }>;

export type IntegrationStream = Required<Pick<DestinationPolicy<IntegrationEvent>, 'deliver' | 'untilBack'>> &
  Readonly<{ close(): void }>;

/**
 * At least once: an answer that is lost, or a relay that dies before it has noted it, adds the event again under the same
 * id. While Redis is away, refuses writes or is full, nothing is tried and no attempt is burnt. What Redis loses behind
 * this is not put back by itself: it is sent again by command.
 */
export function createIntegrationStream({ url, logger, stream }: IntegrationStreamDeps): IntegrationStream {
  const redis = connectSendingRedis(url, { name: 'athyper-integration', logger });
  const { inFrontOf, untilBack } = createGate({
    async ask() {
      await untilReady(redis, readyMilliseconds);
      await redis.ping();
    },
  });
  return {
    deliver: inFrontOf(async ({ event }) => {
      await add(redis, stream, event);
      return delivered;
    }),
    untilBack,
    close: () => redis.disconnect(),
  };
}

/** What a reader may want without parsing, in this order, and then the CloudEvent as JSON. */
async function add(redis: RedisConnection, stream: string, event: IntegrationEvent): Promise<void> {
  const cloudEvent = cloudEventOf(event);
  const { id, type, subject, tenantid = '' } = cloudEvent;
  const fields = ['id', id, 'type', type, 'subject', subject, 'tenant', tenantid, 'event', JSON.stringify(cloudEvent)];
  try {
    await redis.xadd(stream, 'MINID', '~', Date.now() - keptMilliseconds, '*', ...fields);
  } catch (error) {
    const reason = describeError(error);
    if (error instanceof Error && /^(?:WRONGTYPE|NOPERM|NOAUTH)/.test(error.message)) {
      throw new DestinationMisconfiguredError(`Redis refuses: ${reason}`, { cause: error });
    }
    throw new UnavailableError(`Redis is away: ${reason}`, { cause: error });
  }
}
