// The contract of the bus on a real Redis.
import { afterAll, beforeAll } from 'vitest';
import { busContract } from '../../support/bus-contract.ts';
import { makeRedisBus } from '../../support/redis-bus.ts';
import { startRedis, type TestRedis } from '../../support/redis.ts';

let redis: TestRedis;
beforeAll(async () => {
  redis = await startRedis();
});
afterAll(async () => await redis.stop());

busContract('RedisEventBus', async (log) => {
  const test = makeRedisBus(log, redis.url);
  test.bus.consume();
  return await Promise.resolve(test);
});
