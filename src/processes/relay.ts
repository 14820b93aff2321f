// Role `relay`: takes outbox rows to their destinations, one loop each, so that neither holds up the other.
import type { BusTransport } from '../bus/event-bus.ts';
import { UnavailableError } from '../domain/errors.ts';
import { sagaSearchAttributes } from '../domain/saga-contract.ts';
import { registerEventHandlers } from '../handlers/register-event-handlers.ts';
import { delivered, type Deliver } from '../outbox/delivery.ts';
import { createRelay, type OutboxProcessor } from '../outbox/relay.ts';
import type { Running } from '../platform/lifecycle.ts';
import { ensureSearchAttributes } from '../platform/search-attributes.ts';
import { afterDeadLetter, type destinations } from '../sagas/event-routes.ts';
import { createSagaClient } from '../sagas/saga-client.ts';
import { createSagaRouter } from '../sagas/saga-router.ts';
import { createSagaStarts } from '../sagas/saga-starts.ts';
import { busInFrontOf, createInMemoryBus, createRedisBus } from './bus.ts';
import { decodeForDelivery } from './decode.ts';
import type { Parts } from './parts.ts';

export type RunningRelay = Running & Readonly<{ loops: Readonly<Record<string, OutboxProcessor>> }>;

/** Under way at once per destination: each is of another aggregate. */
const concurrency = 5;
/** With the back-off between them about half an hour. */
const mostAttempts = 10;

export function startRelay(parts: Parts): RunningRelay {
  const { db, wakeUp, codec, logger } = parts;
  const bus = deliveringBus(parts);
  const deliver: Readonly<Record<keyof typeof destinations, Deliver>> = {
    bus: async ({ event }) => {
      await bus.deliver(event);
      return delivered;
    },
    temporal: sagaDeliveries(parts),
  };
  const loopFor = (destination: keyof typeof destinations): OutboxProcessor =>
    createRelay({
      db,
      wakeUp,
      decode: decodeForDelivery(codec),
      logger: logger.child({ destination }),
      policy: {
        destination,
        deliver: deliver[destination],
        afterDeadLetter: afterDeadLetter[destination],
        mostAttempts,
        concurrency,
      },
    });
  const loops = { bus: loopFor('bus'), temporal: loopFor('temporal') };
  for (const loop of Object.values(loops)) loop.start();
  return {
    loops,
    async stop() {
      await Promise.all(Object.values(loops).map(async (loop) => await loop.stop()));
      await bus.close();
    },
  };
}

/** With Redis the handlers run in `consumer` processes; without, here. */
function deliveringBus(parts: Parts): BusTransport {
  if (parts.settings.redisUrl !== undefined) return createRedisBus(parts, parts.settings.redisUrl);
  const bus = createInMemoryBus(parts);
  registerEventHandlers(busInFrontOf(parts, bus));
  return bus;
}

/** Nothing is started before the namespace knows our search attributes: every start would fail. */
function sagaDeliveries({ temporal, settings, store, db, limits }: Parts): Deliver {
  const client = createSagaClient({ client: temporal, taskQueue: settings.temporalTaskQueue });
  const route = createSagaRouter({ client, starts: createSagaStarts(db), store, limits });
  let ready = false;
  return async (delivery) => {
    if (!ready) {
      try {
        await ensureSearchAttributes(temporal, settings.temporalNamespace, sagaSearchAttributes);
      } catch (error) {
        throw new UnavailableError(`Temporal is not ready: ${error instanceof Error ? error.message : String(error)}`, {
          cause: error,
        });
      }
      ready = true;
    }
    return await route(delivery);
  };
}
