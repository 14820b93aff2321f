// The HTTP application: what every request goes through, and in which order.
import express, { type Express } from 'express';
import helmet from 'helmet';
import type { EventStore } from '../event-store/event-store.ts';
import type { RunUnitOfWork } from '../event-store/unit-of-work.ts';
import type { Products } from '../inventory/products.ts';
import type { OrderCommands } from '../orders/order-commands.ts';
import type { OrderQueries } from '../orders/order-queries.ts';
import { createPaymentCallbacks } from '../payments/payment-callbacks.ts';
import type { PaymentGateway } from '../payments/payment-gateway.ts';
import type { Db } from '../platform/database.ts';
import type { Logger } from '../platform/logger.ts';
import { createSagaResolutions } from '../sagas/saga-resolutions.ts';
import type { SagaViews } from '../sagas/saga-view.ts';
import type { UserCommands } from '../users/user-commands.ts';
import type { UserRepository } from '../users/user-repository.ts';
import { createEventsRouter } from './events-routes.ts';
import { createHealthRouter, type MetricsText, type ReadinessChecks } from './health-routes.ts';
import { createIdempotent } from './idempotency/idempotent.ts';
import { createJobRouter } from './job-routes.ts';
import { createOrderChangesRouter } from './order-changes-routes.ts';
import { createOrderRefundsRouter } from './order-refunds-routes.ts';
import { createOrderStoryRouter } from './order-story-routes.ts';
import { createOrdersRouter } from './orders-routes.ts';
import { createOutboxRouter, type Destinations } from './outbox-routes.ts';
import { createPaymentWebhookRouter } from './payment-webhook-routes.ts';
import { createProductsRouter } from './products-routes.ts';
import { createSagaResolveRouter } from './saga-resolve-routes.ts';
import { createUsersRouter } from './users-routes.ts';
import { createVerificationRouter } from './verification-routes.ts';
import { createWebhookDeliveriesRouter } from './webhook-deliveries-routes.ts';
import { createWebhookEndpointsRouter, type WebhookParts } from './webhook-endpoints-routes.ts';
import { answerErrors, answerUnknownPath } from './protocol/answer-errors.ts';
import { readBytes, readJson } from './protocol/body.ts';
import { logRequests } from './protocol/log-requests.ts';
import { measureRequests, type ObserveRequest } from './protocol/measure-requests.ts';
import { takeCaller, takeCorrelationId } from './protocol/request-context.ts';

export type HttpDeps = Readonly<{
  logger: Logger;
  db: Db;
  store: EventStore;
  unitOfWork: RunUnitOfWork;
  orders: OrderCommands;
  orderQueries: OrderQueries;
  products: Products;
  users: UserRepository;
  userCommands: UserCommands;
  gateway: PaymentGateway;
  /** `whsec_` and then base64: signs the payment gateway's callbacks. */
  webhookSecret: string;
  sagaViews: SagaViews;
  /** Those that an operator may hold, or send dead letters to again. */
  destinations: Destinations;
  /** Of the jobs that there are. */
  jobNames: readonly string[];
  isDestination: (name: string) => boolean;
  webhooks: WebhookParts;
  /** Wakes the relay. */
  poke: () => void;
  /** What /readyz looks at, by name. */
  checks: ReadinessChecks;
  /** What /metrics shows. */
  metrics: MetricsText;
  observeRequest: ObserveRequest;
  /** Aborts when the process begins to stop: who waits for the end of an order then gets the 202 at once. */
  stopping?: AbortSignal;
}>;

export function createApp(deps: HttpDeps): Express {
  const { logger, db, unitOfWork, gateway, webhookSecret } = deps;
  const idempotent = createIdempotent({ db, logger });
  const resolutions = createSagaResolutions(deps);
  const app = express();
  app.set('etag', false);
  app.use(helmet());
  app.use((_request, response, next) => {
    response.set('Cache-Control', 'no-store');
    next();
  });
  app.use(takeCorrelationId);
  // Before the log and the measuring: a probe every few seconds is no news.
  app.use(createHealthRouter(deps));
  app.use(logRequests(logger), measureRequests(deps.observeRequest), takeCaller, readBytes);
  // Before the parsing: its signature is over the bytes.
  app.use(createPaymentWebhookRouter({ callbacks: createPaymentCallbacks({ unitOfWork, gateway }), webhookSecret }));
  app.use(readJson);
  app.use(createProductsRouter(deps));
  app.use(createUsersRouter({ ...deps, idempotent }));
  app.use(createOrdersRouter({ ...deps, idempotent }));
  app.use(createOrderChangesRouter({ ...deps, idempotent }));
  app.use(createOrderRefundsRouter({ ...deps, idempotent }));
  app.use(createOrderStoryRouter(deps));
  app.use(createSagaResolveRouter({ ...deps, idempotent, resolutions }));
  app.use(createVerificationRouter({ ...deps, idempotent, resolutions }));
  app.use(createEventsRouter(deps));
  app.use(createOutboxRouter({ ...deps, idempotent }));
  app.use(createJobRouter({ ...deps, idempotent }));
  app.use(createWebhookEndpointsRouter({ ...deps, idempotent }));
  app.use(createWebhookDeliveriesRouter({ ...deps, idempotent }));
  app.use(answerUnknownPath);
  app.use(answerErrors(logger));
  return app;
}
