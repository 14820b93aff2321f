// A read model: how often each product was sold, and for how much. Kept by a catch-up subscription, so it can be thrown
// away and built again from the log.
import { sql } from 'kysely';
import type { CatalogueEvent, EventOf } from '../domain/catalogue.ts';
import type { StoredEvent } from '../domain/event.ts';
import type { Subscription } from '../event-store/subscription.ts';
import type { Db, Tx } from '../platform/database.ts';

export type ProductSales = Readonly<{ currency: string; quantity: number; revenue: number }>;

export const productSalesSubscription: Subscription = {
  name: 'orders.product-sales',
  startFrom: 'beginning',
  async apply(stored, { tx }) {
    // The log holds events of the catalogue only: the append validated each.
    const event = stored as StoredEvent<CatalogueEvent>;
    switch (event.eventType) {
      case 'order.submitted':
        await remember(tx, event);
        break;
      case 'order.confirmed':
        await count(tx, event.payload.orderId, true);
        break;
      case 'order.cancelled':
        await count(tx, event.payload.orderId, false);
        break;
      default:
    }
  },
  async reset(tx) {
    await sql`delete from product_sales`.execute(tx);
    await sql`delete from sales_orders`.execute(tx);
  },
};

export async function findProductSales(db: Db, tenantId: string, productId: string): Promise<readonly ProductSales[]> {
  return await db
    .selectFrom('product_sales')
    .select(['currency', 'quantity', 'revenue'])
    .where('tenant_id', '=', tenantId)
    .where('product_id', '=', productId)
    .where('quantity', '>', 0)
    .orderBy('currency')
    .execute();
}

async function remember(tx: Tx, { payload, metadata }: StoredEvent<EventOf<'order.submitted'>>): Promise<void> {
  await tx
    .insertInto('sales_orders')
    .values({
      order_id: payload.orderId,
      tenant_id: metadata.tenantId,
      currency: payload.currency,
      items: JSON.stringify(payload.items),
    })
    .execute();
}

/**
 * `order.confirmed` and `order.cancelled` are event notifications: they name the order, and what was ordered is looked
 * up here, as `order.submitted` carried it. A cancelled order counts back only where it was sold: most were cancelled before
 * that.
 */
async function count(tx: Tx, orderId: string, sold: boolean): Promise<void> {
  const sign = sold ? 1 : -1;
  await sql`
    with changed as (
      update sales_orders set sold = ${sold} where order_id = ${orderId}::uuid and sold <> ${sold}
      returning tenant_id, currency, items
    )
    insert into product_sales (tenant_id, product_id, currency, quantity, revenue)
    select tenant_id, item ->> 'productId', currency, ${sign}::int * (item ->> 'quantity')::bigint,
           ${sign}::int * (item ->> 'quantity')::bigint * (item ->> 'price')::bigint
    from changed, jsonb_array_elements(items) as item
    on conflict (tenant_id, product_id, currency) do update set
      quantity = product_sales.quantity + excluded.quantity,
      revenue = product_sales.revenue + excluded.revenue`.execute(tx);
}
