// A bus on the test's Redis, with a prefix of its own: the server may be shared.
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { RedisEventBus, type RedisEventBusDeps, type Send } from '../../src/bus/redis-event-bus.ts';
import { delivered, type Deliver } from '../../src/outbox/delivery.ts';
import { parkDelivery } from '../../src/outbox/park-delivery.ts';
import { decodeForDelivery } from '../../src/processes/decode.ts';
import type { BusUnderTest } from './bus-contract.ts';
import { createLogBook, type EventLog } from './event-log.ts';
import { createTestRelay, type TestRelay } from './relays.ts';

/** A consumer that is gone is replaced after this. */
const leaseMilliseconds = 1_500;

export type RedisBusOptions = Partial<
  Pick<RedisEventBusDeps, 'mostAttempts' | 'destination' | 'longestStream' | 'leaseMilliseconds' | 'decode'>
>;
export type RedisBusUnderTest = BusUnderTest & Readonly<{ bus: RedisEventBus; logged: readonly string[] }>;

export function makeRedisBus(
  log: Pick<EventLog, 'db' | 'codec'>,
  url: string,
  prefix = `test-${randomUUID()}`,
  { destination = 'bus', ...options }: RedisBusOptions = {},
): RedisBusUnderTest {
  const { logger, lines } = createLogBook();
  const decode: RedisEventBusDeps['decode'] = decodeForDelivery(log.codec);
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
    logged: lines,
    send: async (event) => await bus.deliver(event),
    get reports() {
      return lines.filter((line) => line.startsWith('handlers failed'));
    },
  };
}

export type RedisRelay = TestRelay & Readonly<{ bus: RedisEventBus; busLogged: readonly string[] }>;

/** A relay of the destination `left`, and the bus that it delivers to, as role `relay` has them. */
export function makeRedisRelay(
  log: EventLog,
  url: string,
  prefix: string,
  {
    around = (deliver) => deliver,
    ...options
  }: RedisBusOptions & Readonly<{ around?: (deliver: Deliver) => Deliver }> = {},
): RedisRelay {
  const { bus, logged: busLogged } = makeRedisBus(log, url, prefix, { destination: 'left', ...options });
  const through =
    (send: Send): Deliver =>
    async ({ event }) => {
      await send(event);
      return delivered;
    };
  const test = createTestRelay(log, {
    deliver: async ({ event }) => await bus.deliver(event),
    begin: async () => around(through(await bus.begin())),
  });
  return {
    ...test,
    bus,
    busLogged,
    async stop() {
      await test.stop();
      await bus.close();
    },
  };
}

/** What FLUSHALL does to a Redis that is ours alone. */
export async function wipe(admin: Redis, prefix: string): Promise<void> {
  await admin.eval(`for _, key in ipairs(redis.call('keys', ARGV[1])) do redis.call('del', key) end`, 0, `${prefix}:*`);
}
