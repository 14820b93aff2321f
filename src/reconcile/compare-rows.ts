// Orders rows against their streams. The stream is the truth: what differs is projected again, under the stream's lock.
import { sql } from 'kysely';
import type { StoredEvent } from '../domain/event.ts';
import type { OrderItem } from '../domain/order-state.ts';
import type { EventCodec } from '../event-store/event-codec.ts';
import type { EventStore } from '../event-store/event-store.ts';
import { changingColumns, lastingColumns, projectOrderAgain } from '../orders/order-projection.ts';
import type { Db, Queryable, Tx } from '../platform/database.ts';
import type { EventRow } from '../platform/schema.ts';
import { inPages, type Comparison, type Mended, type Scope } from './difference.ts';
import { factsOf, readOrder, type OrderFacts } from './order-facts.ts';

export type RowComparisonDeps = Readonly<{ db: Db; store: EventStore; codec: EventCodec }>;

export const compareRows = (deps: RowComparisonDeps): Comparison =>
  async function* find(scope) {
    const { db } = deps;
    const pages = inPages(scope, '', async (after, limit) => await readKeys(db, scope, after, limit));
    for await (const page of pages) {
      for (const [orderId, wrong] of await differing(
        deps,
        page.map(({ key }) => key),
      )) {
        // A page's rows and events are read one after the other: what was appended in between is none.
        const still = await db.transaction().execute(async (tx) => await wrongIn(deps, tx, orderId));
        if (still.wrong.length === 0) continue;
        yield {
          kind: 'order-row',
          ids: { order: orderId },
          is: `its row is ${wrong.includes('row') ? 'not there' : `not what its stream says (${still.wrong.join(', ')})`}`,
          right: 'projected again from its stream',
          mend: async () => await projectAgain(deps, orderId),
        };
      }
    }
  };

/** With `sinceHours`: rows that changed since, are not there, or are at another version than their stream. */
async function readKeys(
  db: Db,
  { sinceHours }: Scope,
  after: string,
  limit: number,
): Promise<readonly Readonly<{ key: string }>[]> {
  const since = sinceHours ?? null;
  const { rows } = await sql<{ key: string }>`
    select streams.aggregate_id as key from streams
      left join orders on orders.order_id = case when aggregate_type = 'order' then streams.aggregate_id::uuid end
    where aggregate_type = 'order' and streams.aggregate_id > ${after}
      and (${since}::int is null or orders.order_id is null or orders.version <> streams.version
        or orders.updated_at > now() - make_interval(hours => ${since}::int))
    order by streams.aggregate_id
    limit ${limit}`.execute(db);
  return rows;
}

type Columns = Readonly<Record<string, unknown>>;

/** One read for a whole page. @returns by order id, which columns are wrong */
async function differing(
  { db, codec }: RowComparisonDeps,
  orderIds: readonly string[],
): Promise<readonly (readonly [string, readonly string[]])[]> {
  const rows = await readRows(db, orderIds);
  const { rows: events } = await sql<EventRow>`
    select id, event_type, aggregate_id, aggregate_type, version, payload, metadata, schema_version, occurred_at,
      position::text as position
    from events where aggregate_id = any(${orderIds}::text[])
    order by aggregate_id, version`.execute(db);
  const streams = Map.groupBy(events, (event) => event.aggregate_id);
  return orderIds
    .map((orderId) => {
      const stored: readonly StoredEvent[] = (streams.get(orderId) ?? []).map((row) => codec.decode(row));
      return [orderId, wrongColumns(factsOf(stored), rows.get(orderId))] as const;
    })
    .filter(([, wrong]) => wrong.length > 0);
}

async function readRows(db: Queryable, orderIds: readonly string[]): Promise<ReadonlyMap<string, Columns>> {
  if (orderIds.length === 0) return new Map();
  const rows = await db.selectFrom('orders').selectAll().where('order_id', 'in', orderIds).execute();
  const lines = await db
    .selectFrom('order_items')
    .selectAll()
    .where('order_id', 'in', orderIds)
    .orderBy('line')
    .execute();
  const linesOf = Map.groupBy(lines, (line) => line.order_id);
  return new Map(
    rows.map((row) => {
      const items = (linesOf.get(row.order_id) ?? []).map((line) => [line.product_id, line.quantity, line.price]);
      return [row.order_id, { ...row, items: JSON.stringify(items) }];
    }),
  );
}

/** `row` where there is none. The payment of an order that is not confirmed is set by a handler, and not compared. */
function wrongColumns(order: OrderFacts | undefined, row: Columns | undefined): readonly string[] {
  if (order === undefined) return [];
  if (row === undefined) return ['row'];
  const { state, version } = order;
  const wanted: Columns = {
    ...lastingColumns(state),
    ...changingColumns(state, version),
    ...(state.paymentId === undefined ? {} : { payment_id: state.paymentId }),
    items: JSON.stringify(state.items.map(({ productId, quantity, price }: OrderItem) => [productId, quantity, price])),
  };
  return Object.keys(wanted).filter((column) => wanted[column] !== row[column]);
}

/** With the stream locked: an append locks it before it writes the row, so neither is half done. */
async function wrongIn(
  { store }: RowComparisonDeps,
  tx: Tx,
  orderId: string,
): Promise<Readonly<{ order: OrderFacts | undefined; wrong: readonly string[] }>> {
  await sql`select from streams where aggregate_id = ${orderId} for update`.execute(tx);
  const order = await readOrder(store, orderId, tx);
  return { order, wrong: wrongColumns(order, (await readRows(tx, [orderId])).get(orderId)) };
}

async function projectAgain(deps: RowComparisonDeps, orderId: string): Promise<Mended> {
  return await deps.db.transaction().execute(async (tx) => {
    const { order, wrong } = await wrongIn(deps, tx, orderId);
    if (order === undefined || wrong.length === 0) return 'over';
    await projectOrderAgain(tx, order.state, order.version, await paidAt(deps, tx, order));
    return 'mended';
  });
}

/** A row that was deleted has lost it, and its handler will not come again. */
async function paidAt({ store }: RowComparisonDeps, tx: Tx, { state }: OrderFacts): Promise<Date | null> {
  if (state.paymentId === undefined) return null;
  const events = await store.getEvents(state.paymentId, { tx });
  return events.find(({ eventType }) => eventType === 'payment.completed')?.occurredAt ?? null;
}
