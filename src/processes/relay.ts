// Role `relay`: takes outbox rows to their destinations, one loop each, so that neither holds up the other.
import { UnavailableError } from '../domain/errors.ts';
import type { StoredEvent } from '../domain/event.ts';
import { sagaSearchAttributes } from '../domain/saga-contract.ts';
import {
  defaultBackoff,
  delivered,
  describeError,
  DestinationMisconfiguredError,
  type Deliver,
  type DestinationPolicy,
} from '../outbox/delivery.ts';
import { createGate, type Gate } from '../outbox/gate.ts';
import { createRelay, type OutboxProcessor } from '../outbox/relay.ts';
import { retireStores } from '../outbox/retire-stores.ts';
import { heldBy } from '../payments/payment-gateway.ts';
import type { Running } from '../platform/lifecycle.ts';
import { ensureSearchAttributes } from '../platform/search-attributes.ts';
import { checkTemporal } from '../platform/temporal-client.ts';
import { afterDeadLetter, destinations } from '../sagas/event-routes.ts';
import { createSagaClient, toDeliveryError, type SagaClient } from '../sagas/saga-client.ts';
import { createSagaRouter } from '../sagas/saga-router.ts';
import { createSagaStarts } from '../sagas/saga-starts.ts';
import { createInMemoryBus, createRedisBus } from './bus.ts';
import { decodeForDelivery } from './decode.ts';
import { subscribeHandlers } from './handlers.ts';
import { createIntegrationRelay } from './integration-relay.ts';
import type { Parts } from './parts.ts';

export type RunningRelay = Running & Readonly<{ loops: Readonly<Record<string, OutboxProcessor>> }>;

type Limits = Readonly<
  Record<keyof typeof destinations, Pick<DestinationPolicy, 'mostAttempts' | 'concurrency' | 'backoff'>>
>;
/** Each destination's own. Ten attempts, with the back-off between them, take about half an hour. */
const limits: Limits = {
  bus: { concurrency: 5, mostAttempts: 10, backoff: defaultBackoff },
  temporal: { concurrency: 5, mostAttempts: 10, backoff: defaultBackoff },
};
/** Longer than a live Temporal takes, be it busy. */
const askMilliseconds = 3_000;

export function startRelay(parts: Parts): RunningRelay {
  const { db, wakeUp, codec, logger, observers } = parts;
  const bus = deliveringBus(parts);
  const gate = createGate({ ask: temporalAnswers(parts) });
  const ways: Readonly<Record<keyof typeof destinations, Pick<DestinationPolicy, 'deliver' | 'begin' | 'untilBack'>>> =
    {
      bus,
      temporal: { deliver: gate.inFrontOf(sagaDeliveries(parts, gate)), untilBack: gate.untilBack },
    };
  const loopFor = (destination: keyof typeof destinations): OutboxProcessor =>
    createRelay({
      db,
      wakeUp,
      decode: decodeForDelivery(codec),
      logger: logger.child({ destination }),
      observe: observers.relay(destination),
      policy: {
        destination,
        ...ways[destination],
        afterDeadLetter: afterDeadLetter[destination],
        ...limits[destination],
      },
    });
  const integration = createIntegrationRelay(parts);
  const loops = { bus: loopFor('bus'), temporal: loopFor('temporal'), ...integration.loops };
  for (const loop of Object.values(loops)) loop.start();
  return {
    loops,
    async stop() {
      await Promise.all(Object.values(loops).map(async (loop) => await loop.stop()));
      await bus.close();
      integration.close();
    },
  };
}

type DeliveringBus = Pick<DestinationPolicy, 'deliver' | 'begin'> & Readonly<{ close(): Promise<void> }>;

/** With Redis the handlers run in `consumer` processes; without, here. */
function deliveringBus(parts: Parts): DeliveringBus {
  const through =
    (send: (event: StoredEvent) => Promise<void>): Deliver =>
    async ({ event }) => {
      await send(event);
      return delivered;
    };
  if (parts.settings.redisUrl !== undefined) {
    const bus = createRedisBus(parts, parts.settings.redisUrl);
    return {
      deliver: through(async (event) => await bus.deliver(event)),
      begin: async () => through(await bus.begin()),
      close: async () => await bus.close(),
    };
  }
  const bus = createInMemoryBus(parts);
  subscribeHandlers(parts, bus);
  const deliver = through(async (event) => await bus.deliver(event));
  const begin = unlessRedisWasLeft(parts);
  return { deliver, begin: async () => (await begin()) ?? deliver, close: async () => await bus.close() };
}

/** Once, before the first delivery in memory: what a Redis that was used before may hold is delivered again. */
function unlessRedisWasLeft({ db, logger }: Parts): () => Promise<Deliver | undefined> {
  let isLeft = false;
  return async () => {
    if (isLeft) return undefined;
    try {
      const { published, claimed } = await retireStores(db, destinations.bus);
      if (published > 0) logger.warn({ published, claimed }, 'put back into the outbox what is left in Redis');
      isLeft = true;
      return undefined;
    } catch (error) {
      return async () => await Promise.reject(new UnavailableError('what Redis holds is not known', { cause: error }));
    }
  };
}

/** @throws UnavailableError, also where the namespace is not there: that is said as what it is, a misconfiguration */
const temporalAnswers =
  ({ temporal, settings }: Parts) =>
  async (): Promise<void> => {
    try {
      await checkTemporal(temporal, settings.temporalNamespace, askMilliseconds);
    } catch (error) {
      throw toDeliveryError(error);
    }
  };

/** Nothing is started before the namespace knows our search attributes: every start would fail. */
function sagaDeliveries(parts: Parts, gate: Gate): Deliver {
  const { temporal, settings, store, db, gateway, limits, verification } = parts;
  const client = behind(gate, createSagaClient({ client: temporal, taskQueue: settings.temporalTaskQueue }));
  const heldOf = async (paymentId: string): Promise<number> => heldBy(await gateway.get(paymentId));
  const route = createSagaRouter({ client, starts: createSagaStarts(db), store, limits, verification, heldOf });
  let ready = false;
  return async (delivery) => {
    if (!ready) {
      try {
        await ensureSearchAttributes(temporal, settings.temporalNamespace, sagaSearchAttributes);
      } catch (error) {
        const known = toDeliveryError(error);
        if (known instanceof UnavailableError) throw known;
        throw new DestinationMisconfiguredError(`Temporal is not ready: ${describeError(error)}`, { cause: error });
      }
      ready = true;
    }
    return await route(delivery);
  };
}

/** What a delivery does in PostgreSQL before its call takes time, too: so each call is let through on its own. */
const behind = (gate: Gate, client: SagaClient): SagaClient => ({
  start: async (request) => await gate.call(async () => await client.start(request)),
  signal: async (...message) => await gate.call(async () => await client.signal(...message)),
});
