// A team's own event, handler and read model beside the service, and one order that goes all the way: npm run example
import { sql } from 'kysely';
import { z } from 'zod';
import { defineExtension, runOnEmbeddedStack, runService } from '../src/processes/service.ts';

const pointsEarned = z.object({ customerId: z.string(), orderId: z.string(), points: z.int().min(0) });
const createTable = sql`create table loyalty_points (
  tenant_id text, customer_id text, points bigint not null, primary key (tenant_id, customer_id))`;

export const loyalty = defineExtension({
  name: 'loyalty',
  events: { 'loyalty.points_earned': { version: 1, schema: pointsEarned } },
  migrations: { '0001-points': { up: async (db) => void (await createTable.execute(db)) } },
  handlers: (eventBus) => {
    eventBus.subscribe(
      'order.confirmed',
      // What it does through `tx` and what it publishes is one transaction, and happens once for each order.
      async ({ payload: { orderId } }, { tx, publish }) => {
        const orders = tx.selectFrom('orders').select(['customer_id', 'total']).where('order_id', '=', orderId);
        const { customer_id: customerId, total } = await orders.executeTakeFirstOrThrow();
        const payload = { customerId, orderId, points: Math.floor(total / 100) };
        const stream = { aggregateType: 'loyalty', aggregateId: `loyalty-${orderId}` };
        await publish({ eventType: 'loyalty.points_earned', ...stream, payload });
      },
      { name: 'loyalty.earn-points' },
    );
  },
  subscriptions: [
    {
      name: 'loyalty.points-of-customers',
      startFrom: 'beginning',
      async apply({ eventType, payload, metadata }, { tx }) {
        if (eventType !== 'loyalty.points_earned') return;
        const { customerId, points } = payload;
        await sql`insert into loyalty_points as kept values (${metadata.tenantId}, ${customerId}, ${points})
          on conflict (tenant_id, customer_id) do update set points = kept.points + excluded.points`.execute(tx);
      },
      reset: async (tx) => void (await sql`delete from loyalty_points`.execute(tx)),
    },
  ],
});

// With a role (`node examples/order-flow.ts relay`) it is the service as that team runs it; without one, an order's way.
if (import.meta.main && process.argv.length > 2) await runService([loyalty]);
else if (import.meta.main) {
  await runOnEmbeddedStack('example', [loyalty], async ({ api, db, folder, until }) => {
    const customerId = await api.createUser(`ada-${Date.now()}@example.org`);
    await api.putProduct('lamp', { name: 'Lamp', onHand: 5 });
    const items = [{ productId: 'lamp', quantity: 2, price: 1999 }];
    const orderId = await api.createOrder({ customerId, currency: 'EUR', items });
    await api.submitOrder(orderId, 10);
    const account = sql<{ points: string }>`select points from loyalty_points where customer_id = ${customerId}`;
    const points = await until(async () => (await account.execute(db)).rows[0]?.points);
    console.log(`Order ${orderId} is ${(await api.getOrder(orderId)).status}: ${points} points for ${customerId}.`);
    console.log(`Its saga: ${(await api.findSaga(orderId))?.webUrl}`);
    console.log(`To have all of it stay up, for a look: DATA_DIR=${folder} npm run example -- dev`);
  });
}
