// More orders at once than there are pieces, all for the same product: none is sold twice, none is kept back.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { sql } from 'kysely';
import { expectBooksToBalance } from '../../support/books.ts';
import { submittedOf } from '../../support/liveness.ts';
import { eventually, startSagaService, type SagaService } from '../../support/saga-service.ts';

const pieces = 100;
const orders = 200;
const customersAtOnce = 20;

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ environment: { DATABASE_POOL_SIZE: String(customersAtOnce) } });
});
afterAll(async () => await service.stop());

it(
  `${orders} orders at once for a product of which there are ${pieces}: exactly ${pieces} are confirmed`,
  { timeout: 5 * 60_000 },
  async () => {
    const { db } = service.parts;
    await service.stock(pieces, 'rare');
    const items = [{ productId: 'rare', quantity: 1, price: 1500 }];
    // Twenty customers who come back at once: as many as there are connections.
    const customers = Array.from({ length: customersAtOnce }, async () => {
      const ids: string[] = [];
      while (ids.length < orders / customersAtOnce) ids.push(await service.submit({ items }));
      return ids;
    });
    const orderIds = (await Promise.all(customers)).flat();
    const before = performance.now();
    await eventually(async () => ((await submittedOf(service, orderIds)).length === 0 ? true : undefined), 4 * 60_000);
    console.log(`all ended ${((performance.now() - before) / 1000).toFixed(1)} s after the last was submitted`);

    const { rows: ends } = await sql`
      select status, split_part(failure_reason, ':', 1) as why, count(*)::int from orders group by 1, 2 order by 1`.execute(
      db,
    );
    expect(ends).toEqual([
      { status: 'confirmed', why: null, count: pieces },
      { status: 'failed', why: 'out-of-stock', count: orders - pieces },
    ]);
    const { rows: products } = await sql`select on_hand, reserved from products`.execute(db);
    expect(products).toEqual([{ on_hand: 0, reserved: 0 }]);
    const { rows: money } = await sql`
      select orders.status, ledger_entries.kind, count(*)::int, count(distinct orders.order_id)::int as orders
      from ledger_entries join payments using (payment_id) join orders using (order_id) group by 1, 2`.execute(db);
    expect(money).toEqual([{ status: 'confirmed', kind: 'capture', count: pieces, orders: pieces }]);
    await expectBooksToBalance(service.parts, { stocked: { rare: pieces } });
  },
);
