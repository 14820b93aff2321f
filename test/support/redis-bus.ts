// A bus on the test's Redis, with a prefix of its own: the server may be shared.
import { randomUUID } from 'node:crypto';
import { RedisEventBus, type RedisEventBusDeps } from '../../src/bus/redis-event-bus.ts';
import { parkDelivery } from '../../src/outbox/park-delivery.ts';
import type { BusUnderTest } from './bus-contract.ts';
import { createLogBook, type EventLog } from './event-log.ts';

/** A consumer that is gone is replaced after this. */
const leaseMilliseconds = 1_500;

export type RedisBusOptions = Partial<
  Pick<RedisEventBusDeps, 'mostAttempts' | 'destination' | 'longestStream' | 'leaseMilliseconds' | 'decode'>
>;
export type RedisBusUnderTest = BusUnderTest & Readonly<{ bus: RedisEventBus }>;

export function makeRedisBus(
  log: EventLog,
  url: string,
  prefix = `test-${randomUUID()}`,
  { destination = 'bus', ...options }: RedisBusOptions = {},
): RedisBusUnderTest {
  const { logger, lines } = createLogBook();
  const decode: RedisEventBusDeps['decode'] = (row) => log.codec.decode(row);
  const park: RedisEventBusDeps['park'] = async (event, error) => await parkDelivery(log.db, destination, event, error);
  const bus = new RedisEventBus({
    url,
    db: log.db,
    logger,
    prefix,
    decode,
    park,
    destination,
    leaseMilliseconds,
    ...options,
  });
  return {
    bus,
    send: async (event) => await bus.deliver(event),
    get reports() {
      return lines.filter((line) => line.startsWith('handlers failed'));
    },
  };
}
