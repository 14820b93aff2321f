// What every role is composed of. Made once per process; a role takes what it needs.
import type { Client } from '@temporalio/client';
import type { CatalogueEvent } from '../domain/catalogue.ts';
import { jobCatalogue } from '../domain/job-catalogue.ts';
import type { SagaLimits } from '../domain/saga-contract.ts';
import type { VerificationLimits } from '../domain/user-verification.ts';
import type { Routes } from '../event-store/append.ts';
import { createEventCodec, type EventCodec } from '../event-store/event-codec.ts';
import { PgEventStore, type EventStore } from '../event-store/event-store.ts';
import { createUnitOfWork, type RunUnitOfWork } from '../event-store/unit-of-work.ts';
import type { JobQueue } from '../jobs/job-queue.ts';
import { createJobStore, type JobStore } from '../jobs/job-store.ts';
import { createJobQueue } from '../jobs/pg-boss-job-queue.ts';
import { createOrderRepository, type EventSourcedOrderRepository } from '../orders/order-repository.ts';
import { createWakeUp, type WakeUp } from '../outbox/wake-up.ts';
import { createLedgerGateway } from '../payments/ledger-gateway.ts';
import type { PaymentGateway } from '../payments/payment-gateway.ts';
import type { Settings } from '../platform/config.ts';
import { connectDatabase, connectPool, type Db } from '../platform/database.ts';
import { createLogger, type Logger } from '../platform/logger.ts';
import { createMetricsRegistry, type MetricsRegistry } from '../platform/metrics.ts';
import { StartupError } from '../platform/startup-error.ts';
import { connectTemporal } from '../platform/temporal-client.ts';
import { extendCatalogue, type Extension } from './extension.ts';
import { createObservers, type Observers } from './observers.ts';

export type Parts = Readonly<{
  settings: Settings;
  logger: Logger;
  db: Db;
  extensions: readonly Extension[];
  /** The codec's catalogue, these routes and so the store know the extensions' event types as well. */
  codec: EventCodec;
  routes: Routes;
  store: EventStore<CatalogueEvent>;
  unitOfWork: RunUnitOfWork<CatalogueEvent>;
  repository: EventSourcedOrderRepository;
  gateway: PaymentGateway;
  jobQueue: JobQueue<typeof jobCatalogue>;
  /** Where jobs are kept, for whoever runs them, lists them or sends them again. */
  jobStore: JobStore;
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
  extensions?: readonly Extension[] | undefined;
}>;

/** Beside the other connections: who waits for one of those must not keep a running job from being seen alive. */
const jobPoolSize = 4;

/** A setting that `readSettings` demanded for this role, or that `dev` filled in. */
export function required(value: string | undefined, name: string): string {
  if (value === undefined) throw new StartupError(`${name} is missing.`);
  return value;
}

/** @throws StartupError where a setting is missing, or an extension clashes with the service or another one */
export function createParts(settings: Settings, options: PartsOptions): Parts {
  const { role, runsLoops, longestSilenceMilliseconds, logger: given, extensions = [] } = options;
  const { catalogue, routes } = extendCatalogue(extensions);
  const logger = given ?? createLogger({ level: settings.logLevel, role });
  const url = required(settings.databaseUrl, 'DATABASE_URL');
  const onIdleError = (error: Error): void => logger.warn({ err: error }, 'an idle database connection was lost');
  const applicationName = `athyper-${role}`;
  const poolSize = settings.databasePoolSize;
  const db = connectDatabase({ url, poolSize, applicationName, onIdleError, longestSilenceMilliseconds });
  const jobPool = connectPool({ url, poolSize: jobPoolSize, applicationName: `${applicationName}-jobs`, onIdleError });
  const jobStore = createJobStore({ pool: jobPool, logger });
  const listenUrl = runsLoops ? (settings.databaseDirectUrl ?? url) : undefined;
  const wakeUp = createWakeUp({ db, logger, listenUrl });
  const onCommitted = (): void => wakeUp.poke();
  const codec = createEventCodec(catalogue);
  const store = new PgEventStore({ db, codec, routes, onCommitted });
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
    extensions,
    codec,
    routes,
    store,
    unitOfWork,
    repository: createOrderRepository({ store, unitOfWork }),
    gateway: createLedgerGateway(db),
    jobQueue: createJobQueue({ store: jobStore, db, catalogue: jobCatalogue }),
    jobStore,
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
      await jobPool.end();
    },
  };
}
