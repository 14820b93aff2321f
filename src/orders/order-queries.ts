// Reads of the orders rows, by tenant. They show what is committed; the stream is the truth behind them.
import type { OrderItem, OrderStatus } from '../domain/order-state.ts';
import type { Db } from '../platform/database.ts';

export type OrderView = Readonly<{
  orderId: string;
  customerId: string;
  status: OrderStatus;
  currency: string;
  total: number;
  items: readonly OrderItem[];
  paymentMethod: string;
  paymentId?: string;
  paidAt?: string;
  failureReason?: string;
  cancellationRequested: boolean;
  version: number;
  createdAt: string;
  updatedAt: string;
}>;

export type OrderQueries = Readonly<{
  findOrder(tenantId: string, orderId: string): Promise<OrderView | undefined>;
  /** Newest first. `before` is the last order id of the page before. */
  listOrders(
    tenantId: string,
    filter: Readonly<{ status?: OrderStatus | undefined; limit: number; before?: string | undefined }>,
  ): Promise<readonly OrderView[]>;
}>;

export function createOrderQueries(db: Db): OrderQueries {
  async function viewsOf(rows: readonly OrderRow[]): Promise<readonly OrderView[]> {
    if (rows.length === 0) return [];
    const orderIds = rows.map((row) => row.order_id);
    const lines = await db
      .selectFrom('order_items')
      .selectAll()
      .where('order_id', 'in', orderIds)
      .orderBy('line')
      .execute();
    return rows.map((row) =>
      toView(
        row,
        lines
          .filter((line) => line.order_id === row.order_id)
          .map((line) => ({ productId: line.product_id, quantity: line.quantity, price: line.price })),
      ),
    );
  }

  return {
    async findOrder(tenantId, orderId) {
      const row = await selectOrders(db)
        .where('tenant_id', '=', tenantId)
        .where('order_id', '=', orderId)
        .executeTakeFirst();
      return row === undefined ? undefined : (await viewsOf([row]))[0];
    },
    async listOrders(tenantId, { status, limit, before }) {
      let query = selectOrders(db).where('tenant_id', '=', tenantId);
      if (status !== undefined) query = query.where('status', '=', status);
      if (before !== undefined) query = query.where('order_id', '<', before);
      return await viewsOf(await query.orderBy('order_id', 'desc').limit(limit).execute());
    },
  };
}

const selectOrders = (db: Db) => db.selectFrom('orders').selectAll();
type OrderRow = Awaited<ReturnType<ReturnType<typeof selectOrders>['executeTakeFirstOrThrow']>>;

function toView(row: OrderRow, items: readonly OrderItem[]): OrderView {
  return {
    orderId: row.order_id,
    customerId: row.customer_id,
    status: row.status,
    currency: row.currency,
    total: row.total,
    items,
    paymentMethod: row.payment_method,
    ...(row.payment_id === null ? {} : { paymentId: row.payment_id }),
    ...(row.paid_at === null ? {} : { paidAt: row.paid_at.toISOString() }),
    ...(row.failure_reason === null ? {} : { failureReason: row.failure_reason }),
    cancellationRequested: row.cancellation_requested,
    version: row.version,
    createdAt: row.created_at.toISOString(),
    updatedAt: row.updated_at.toISOString(),
  };
}
