// The business parts on a database of their own: orders, stock, payments and users, without Temporal and without a relay.
import { catalogue } from '../../src/domain/catalogue.ts';
import type { EventMetadata } from '../../src/domain/event.ts';
import { commandContext, newId } from '../../src/domain/ids.ts';
import { createEventCodec } from '../../src/event-store/event-codec.ts';
import { PgEventStore, type EventStore } from '../../src/event-store/event-store.ts';
import { createUnitOfWork, type RunUnitOfWork } from '../../src/event-store/unit-of-work.ts';
import { createProducts, type Products } from '../../src/inventory/products.ts';
import { createOrderCommands, type OrderCommands } from '../../src/orders/order-commands.ts';
import { createOrderQueries, type OrderQueries } from '../../src/orders/order-queries.ts';
import { createOrderRepository, type EventSourcedOrderRepository } from '../../src/orders/order-repository.ts';
import { createLedgerGateway } from '../../src/payments/ledger-gateway.ts';
import type { PaymentGateway } from '../../src/payments/payment-gateway.ts';
import { connectDatabase, type Db } from '../../src/platform/database.ts';
import { eventRoutes } from '../../src/sagas/event-routes.ts';
import { createUserCommands, type UserCommands } from '../../src/users/user-commands.ts';
import { createUserRepository, type UserRepository } from '../../src/users/user-repository.ts';
import { createTestDatabase } from './database.ts';

export const tenantId = 'default';
export const metadata: EventMetadata = { tenantId, correlationId: 'test' };

export type Shop = Readonly<{
  db: Db;
  store: EventStore;
  unitOfWork: RunUnitOfWork;
  repository: EventSourcedOrderRepository;
  commands: OrderCommands;
  queries: OrderQueries;
  products: Products;
  gateway: PaymentGateway;
  users: UserRepository;
  userCommands: UserCommands;
  stop(): Promise<void>;
}>;

export async function startShop(): Promise<Shop> {
  const database = await createTestDatabase();
  const shop = openShop(database.url);
  return {
    ...shop,
    async stop() {
      await shop.stop();
      await database.drop();
    },
  };
}

/** On a database that is there, and stays. */
export function openShop(url: string): Shop {
  const onIdleError = (): void => {};
  const db = connectDatabase({ url, poolSize: 30, applicationName: 'test-shop', onIdleError });
  const onCommitted = (): void => {};
  const codec = createEventCodec(catalogue);
  const store = new PgEventStore({ db, codec, routes: eventRoutes, onCommitted });
  const unitOfWork = createUnitOfWork({ db, store, onCommitted });
  const repository = createOrderRepository({ store, unitOfWork });
  const users = createUserRepository({ db, unitOfWork });
  return {
    db,
    store,
    unitOfWork,
    repository,
    commands: createOrderCommands({ repository }),
    queries: createOrderQueries(db),
    products: createProducts(db),
    gateway: createLedgerGateway(db),
    users,
    userCommands: createUserCommands({ users }),
    stop: async () => await db.destroy(),
  };
}

export const ofOrder = (orderId = newId()) => ({ orderId, context: commandContext(metadata) });
