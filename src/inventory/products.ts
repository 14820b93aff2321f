// Products and what is in stock of them.
import { sql } from 'kysely';
import { DomainError } from '../domain/errors.ts';
import type { Db } from '../platform/database.ts';

export type ProductView = Readonly<{
  productId: string;
  name: string;
  onHand: number;
  reserved: number;
  available: number;
}>;

export type Products = Readonly<{
  /** Creates or changes. @throws DomainError `stock-below-reserved` where orders hold more than `onHand` */
  put(tenantId: string, productId: string, product: Readonly<{ name: string; onHand: number }>): Promise<ProductView>;
  find(tenantId: string, productId: string): Promise<ProductView | undefined>;
}>;

type ProductRow = Readonly<{ product_id: string; name: string; on_hand: number; reserved: number }>;

export function createProducts(db: Db): Products {
  return {
    async put(tenantId, productId, { name, onHand }) {
      const { rows } = await sql<ProductRow>`
        insert into products (tenant_id, product_id, name, on_hand)
        values (${tenantId}, ${productId}, ${name}, ${onHand})
        on conflict (tenant_id, product_id) do update
          set name = excluded.name, on_hand = excluded.on_hand, updated_at = now()
          where products.reserved <= excluded.on_hand
        returning product_id, name, on_hand, reserved`.execute(db);
      const [row] = rows;
      if (row === undefined) {
        throw new DomainError('stock-below-reserved', `orders hold more than ${onHand} of ${productId}`, 'onHand');
      }
      return toView(row);
    },
    async find(tenantId, productId) {
      const row = await db
        .selectFrom('products')
        .select(['product_id', 'name', 'on_hand', 'reserved'])
        .where('tenant_id', '=', tenantId)
        .where('product_id', '=', productId)
        .executeTakeFirst();
      return row === undefined ? undefined : toView(row);
    },
  };
}

function toView(row: ProductRow): ProductView {
  return {
    productId: row.product_id,
    name: row.name,
    onHand: row.on_hand,
    reserved: row.reserved,
    available: row.on_hand - row.reserved,
  };
}
