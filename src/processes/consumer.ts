// Role `consumer`: reads events from Redis and runs the plain handlers. Any number of them share the work.
import { registerEventHandlers } from '../handlers/register-event-handlers.ts';
import { registerIntegrationHandlers } from '../handlers/register-integration-handlers.ts';
import type { Running } from '../platform/lifecycle.ts';
import { endpointsFor } from '../webhooks/webhook-endpoints.ts';
import { busInFrontOf, createRedisBus } from './bus.ts';
import { required, type Parts } from './parts.ts';

export type RunningConsumer = Running & Readonly<{ check(): Promise<void> }>;

export function startConsumer(parts: Parts): RunningConsumer {
  const bus = createRedisBus(parts, required(parts.settings.redisUrl, 'REDIS_URL'));
  registerEventHandlers(busInFrontOf(parts, bus));
  registerIntegrationHandlers(busInFrontOf(parts, bus), { queue: true, endpointsFor });
  bus.consume();
  return { stop: async () => await bus.close(), check: async () => await bus.check() };
}
