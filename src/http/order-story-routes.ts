// What became of an order: its payments, its events, its saga.
import { Router } from 'express';
import type { EventStore } from '../event-store/event-store.ts';
import type { OrderQueries } from '../orders/order-queries.ts';
import { listPayments } from '../payments/ledger-rows.ts';
import type { Db } from '../platform/database.ts';
import type { SagaViews } from '../sagas/saga-view.ts';
import { existingOrder, orderIdOf } from './order-input.ts';
import { jsonAnswer } from './protocol/answer.ts';
import { notFound } from './protocol/problems.ts';
import { serve, type Exchange } from './protocol/routes.ts';

export type OrderStoryRouterDeps = Readonly<{
  db: Db;
  orderQueries: OrderQueries;
  store: EventStore;
  sagaViews: SagaViews;
}>;

export function createOrderStoryRouter({ db, orderQueries, store, sagaViews }: OrderStoryRouterDeps): Router {
  const router = Router({ caseSensitive: true });
  /** @throws DomainError `order-not-found`: streams and workflows have ids of their own, tenants do not share them */
  const ownOrderId = async ({ request, metadata }: Exchange): Promise<string> =>
    (await existingOrder(orderQueries, metadata.tenantId, orderIdOf(request))).orderId;

  serve(router, '/orders/:orderId/payments', {
    get: async (exchange) => {
      const payments = await listPayments(db, exchange.metadata.tenantId, await ownOrderId(exchange));
      const views = payments.map(({ paymentId, status, amount, refunded, currency }) => ({
        paymentId,
        status,
        amount,
        refunded,
        currency,
      }));
      return jsonAnswer(200, { payments: views });
    },
  });

  serve(router, '/orders/:orderId/events', {
    get: async (exchange) => jsonAnswer(200, { events: await store.getEvents(await ownOrderId(exchange)), next: null }),
  });

  serve(router, '/orders/:orderId/saga', {
    get: async (exchange) => {
      const orderId = await ownOrderId(exchange);
      const saga = await sagaViews.find(exchange.metadata.tenantId, orderId);
      if (saga === undefined) throw notFound('saga-not-found', `the order ${orderId} was never submitted`);
      return jsonAnswer(200, saga);
    },
  });
  return router;
}
