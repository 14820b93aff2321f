// Role `consumer`: reads events from Redis and runs the plain handlers. Any number of them share the work.
import type { Running } from '../platform/lifecycle.ts';
import { createRedisBus } from './bus.ts';
import { subscribeHandlers } from './handlers.ts';
import { required, type Parts } from './parts.ts';

export type RunningConsumer = Running & Readonly<{ check(): Promise<void> }>;

export function startConsumer(parts: Parts): RunningConsumer {
  const bus = createRedisBus(parts, required(parts.settings.redisUrl, 'REDIS_URL'));
  subscribeHandlers(parts, bus);
  bus.consume();
  return { stop: async () => await bus.close(), check: async () => await bus.check() };
}
