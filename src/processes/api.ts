// Role `api`: HTTP. It writes to PostgreSQL only, so it accepts orders while Temporal or the relay are away.
import { jobCatalogue } from '../domain/job-catalogue.ts';
import { integrationCatalogue } from '../domain/integration-catalogue.ts';
import { createApp } from '../http/app.ts';
import type { ReadinessChecks } from '../http/health-routes.ts';
import { deleteExpiredKeys } from '../http/idempotency/idempotency-keys.ts';
import { createProducts } from '../inventory/products.ts';
import { createOrderCommands } from '../orders/order-commands.ts';
import { createOrderQueries } from '../orders/order-queries.ts';
import { defaultTemporalUiUrl } from '../platform/config.ts';
import { listen } from '../platform/http-server.ts';
import type { Running } from '../platform/lifecycle.ts';
import { afterDeadLetter, isDestination } from '../sagas/event-routes.ts';
import { createSagaViews } from '../sagas/saga-view.ts';
import { createUserCommands } from '../users/user-commands.ts';
import { createUserRepository } from '../users/user-repository.ts';
import { createAddressGuard } from '../webhooks/address-guard.ts';
import { createWebhookEndpoints } from '../webhooks/webhook-endpoints.ts';
import { required, type Parts } from './parts.ts';

const hour = 3_600_000;

/** @throws StartupError where PORT is taken */
export async function startApi(parts: Parts, checks: ReadinessChecks): Promise<Running> {
  const { db, logger, store, unitOfWork, gateway, repository, settings, temporal } = parts;
  const users = createUserRepository({ db, unitOfWork });
  const stopping = new AbortController();
  const app = createApp({
    stopping: stopping.signal,
    db,
    logger,
    store,
    unitOfWork,
    gateway,
    checks,
    metrics: parts.metricsRegistry,
    observeRequest: parts.observers.request,
    destinations: afterDeadLetter,
    jobNames: Object.keys(jobCatalogue),
    isDestination,
    webhooks: {
      endpoints: createWebhookEndpoints(db),
      guard: createAddressGuard({ allowPrivate: settings.webhooksAllowPrivate }),
      eventTypes: Object.keys(integrationCatalogue),
    },
    poke: () => parts.wakeUp.poke(),
    orders: createOrderCommands({ repository }),
    orderQueries: createOrderQueries(db),
    products: createProducts(db),
    users,
    userCommands: createUserCommands({ users }),
    webhookSecret: required(settings.paymentsWebhookSecret, 'PAYMENTS_WEBHOOK_SECRET'),
    sagaViews: createSagaViews({ db, client: temporal, uiUrl: uiUrlOf(parts), namespace: settings.temporalNamespace }),
  });
  const server = await listen(app, { port: settings.port, host: settings.host, variable: 'PORT' });
  const cleanUp = setInterval(() => void deleteOldKeys(parts), hour).unref();
  return {
    async stop() {
      clearInterval(cleanUp);
      // Whoever waits for an order's end gets 202 now; the saga goes on without this process.
      stopping.abort();
      await server.stop();
    },
  };
}

/** Any number of processes may do so at once. One that fails leaves it to the next hour. */
async function deleteOldKeys({ db, logger }: Parts): Promise<void> {
  try {
    const deleted = await deleteExpiredKeys(db);
    logger.info({ deleted }, 'old idempotency keys deleted');
  } catch (error) {
    logger.warn({ err: error }, 'old idempotency keys were not deleted');
  }
}

function uiUrlOf({ settings }: Parts): string {
  if (settings.temporalUiUrl !== undefined) return settings.temporalUiUrl;
  return defaultTemporalUiUrl(required(settings.temporalAddress, 'TEMPORAL_ADDRESS'));
}
