// What every role is composed of. Made once per process; a role takes what it needs.
import type { Client } from '@temporalio/client';
import { catalogue, type CatalogueEvent } from '../domain/catalogue.ts';
import type { SagaLimits } from '../domain/saga-contract.ts';
import type { VerificationLimits } from '../domain/user-verification.ts';
import { createEventCodec, type EventCodec } from '../event-store/event-codec.ts';
import { PgEventStore, type EventStore } from '../event-store/event-store.ts';
import { createUnitOfWork, type RunUnitOfWork } from '../event-store/unit-of-work.ts';
import { createOrderRepository, type EventSourcedOrderRepository } from '../orders/order-repository.ts';
import { createWakeUp, type WakeUp } from '../outbox/wake-up.ts';
import { createLedgerGateway } from '../payments/ledger-gateway.ts';
import type { PaymentGateway } from '../payments/payment-gateway.ts';
import type { Settings } from '../platform/config.ts';
import { connectDatabase, type Db } from '../platform/database.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { createMetricsRegistry, type MetricsRegistry } from '../platform/metrics.ts';
import { StartupError } from '../platform/startup-error.ts';
import { connectTemporal } from '../platform/temporal-client.ts';
import { eventRoutes } from '../sagas/event-routes.ts';
import { createObservers, type Observers } from './observers.ts';

export type Parts = Readonly<{
  settings: Settings;
  logger: Logger;
  db: Db;
  codec: EventCodec;
  store: EventStore<CatalogueEvent>;
  unitOfWork: RunUnitOfWork<CatalogueEvent>;
  repository: EventSourcedOrderRepository;
  gateway: PaymentGateway;
  wakeUp: WakeUp;
  /** Where whoever counts something defines what; shown at /metrics. */
  metricsRegistry: MetricsRegistry;
  observers: Observers;
  limits: SagaLimits;
  verification: VerificationLimits;
  /** Connected at its first call. */
  temporal: Client;
  close(): Promise<void>;
}>;

export type PartsOptions = Readonly<{
  role: string;
  /** A process that runs loops listens for other processes' commits. */
  runsLoops: boolean;
  /** After which a connection to PostgreSQL counts as dead, where that is not as long as statements may last. */
  longestSilenceMilliseconds?: number | undefined;
  logger?: Logger;
}>;

/** A setting that `readSettings` demanded for this role, or that `dev` filled in. */
export function required(value: string | undefined, name: string): string {
  if (value === undefined) throw new StartupError(`${name} is missing.`);
  return value;
}

export function createParts(settings: Settings, options: PartsOptions): Parts {
  const { role, runsLoops, longestSilenceMilliseconds, logger: given } = options;
  const logger = given ?? createLogger({ level: settings.logLevel, role });
  const url = required(settings.databaseUrl, 'DATABASE_URL');
  const db = connectDatabase({
    url,
    poolSize: settings.databasePoolSize,
    applicationName: `athyper-${role}`,
    onIdleError: (error) => logger.warn({ err: error }, 'an idle database connection was lost'),
    longestSilenceMilliseconds,
  });
  const listenUrl = runsLoops ? (settings.databaseDirectUrl ?? url) : undefined;
  const wakeUp = createWakeUp({ db, logger, listenUrl });
  const onCommitted = (): void => wakeUp.poke();
  const codec = createEventCodec(catalogue);
  const store = new PgEventStore({ db, codec, routes: eventRoutes, onCommitted });
  const metricsRegistry = createMetricsRegistry();
  const unitOfWork = createUnitOfWork({ db, store, onCommitted });
  // Without an address (in a consumer) nothing ever calls it.
  const temporal = connectTemporal({
    address: settings.temporalAddress ?? 'unset:0',
    namespace: settings.temporalNamespace,
  });
  return {
    settings,
    logger,
    db,
    codec,
    store,
    unitOfWork,
    repository: createOrderRepository({ store, unitOfWork }),
    gateway: createLedgerGateway(db),
    wakeUp,
    metricsRegistry,
    observers: createObservers(metricsRegistry),
    limits: {
      stepLimitSeconds: settings.stepLimitSeconds,
      paymentDeadlineSeconds: settings.paymentDeadlineSeconds,
      parkAfterSeconds: settings.parkAfterSeconds,
      parkedRetrySeconds: settings.parkedRetrySeconds,
    },
    verification: {
      reminderSeconds: settings.verificationReminderSeconds,
      expirySeconds: settings.verificationExpirySeconds,
      parkAfterSeconds: settings.parkAfterSeconds,
      parkedRetrySeconds: settings.parkedRetrySeconds,
    },
    temporal,
    async close() {
      await wakeUp.close();
      await temporal.connection.close();
      await db.destroy();
    },
  };
}
