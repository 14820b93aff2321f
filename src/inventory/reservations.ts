// Stock is taken for a whole order or not at all. All within the caller's transaction; products are locked in the order
// of their ids, so two orders never wait for each other in a circle.
import { sql } from 'kysely';
import type { EventOf } from '../domain/catalogue.ts';
import { DomainError } from '../domain/errors.ts';
import type { EventContext } from '../domain/event.ts';
import { derivedId } from '../domain/ids.ts';
import type { UnitOfWork } from '../event-store/unit-of-work.ts';
import type { Tx } from '../platform/database.ts';

type Item = Readonly<{ productId: string; quantity: number }>;
export type ReservationOf = Readonly<{ orderId: string; context: EventContext }>;

const reservationAggregate = 'reservation';
/** Whose the reservation is, and for how long from now; after that `reconcile` asks whether that saga lives. */
export type Hold = Readonly<{ workflowId: string; seconds: number }>;

/** One reservation per order, found again by whoever knows the order. */
const reservationIdOf = (orderId: string): string => derivedId('reservation', orderId);

/**
 * Once: again for the same order changes nothing.
 * @throws DomainError `unknown-product`, `out-of-stock`, or `reservation-gone` where it was released before
 */
export async function reserveStock(
  unit: UnitOfWork,
  of: ReservationOf,
  items: readonly Item[],
  hold?: Hold,
): Promise<void> {
  const { tx } = unit;
  const reservationId = reservationIdOf(of.orderId);
  const tenantId = of.context.metadata.tenantId;
  const known = await claimReservation(tx, of, 'held', hold);
  if (known === 'held' || known === 'consumed') return;
  if (known === 'released')
    throw new DomainError('reservation-gone', 'the reservation was released before it was made');

  const stock = await lockProducts(tx, tenantId, items);
  for (const { productId, quantity } of items) {
    const product = stock.get(productId);
    if (product === undefined)
      throw new DomainError('unknown-product', `there is no product ${productId}`, 'productId');
    if (product.available < quantity) {
      const message = `${productId} has ${product.available} available, the order needs ${quantity}`;
      throw new DomainError('out-of-stock', message, 'quantity');
    }
  }
  await moveStock(tx, tenantId, items, { onHand: 0, reserved: 1 });
  await tx
    .insertInto('reservation_items')
    .values(
      items.map((item) => ({ reservation_id: reservationId, product_id: item.productId, quantity: item.quantity })),
    )
    .execute();
  await unit.append(inventoryEvent('inventory.reserved', of, items), 'none');
}

/** The undo. Of a reservation that was never made it leaves a tombstone, so that a late reserve takes nothing. */
export async function releaseStock(unit: UnitOfWork, of: ReservationOf): Promise<void> {
  const known = await claimReservation(unit.tx, of, 'released');
  if (known === undefined || known === 'released') return;
  if (known === 'consumed') throw new Error(`the reservation of ${of.orderId} is consumed: restock it instead`);
  const items = await itemsOf(unit.tx, of.orderId);
  await lockProducts(unit.tx, of.context.metadata.tenantId, items);
  await moveStock(unit.tx, of.context.metadata.tenantId, items, { onHand: 0, reserved: -1 });
  await setState(unit.tx, of.orderId, 'released');
  await unit.append(inventoryEvent('inventory.released', of, items), 'exists');
}

/** Of a reservation that nobody uses any more: `releaseStock`, where it is held still. @returns whether it was */
export async function releaseHeldStock(unit: UnitOfWork, of: ReservationOf): Promise<boolean> {
  if ((await lockReservation(unit.tx, of.orderId)) !== 'held') return false;
  await releaseStock(unit, of);
  return true;
}

/** The goods leave: on hand and reserved both go down. @throws DomainError `reservation-gone` */
export async function consumeStock(tx: Tx, of: ReservationOf): Promise<void> {
  const state = await lockReservation(tx, of.orderId);
  if (state === 'consumed') return;
  if (state !== 'held')
    throw new DomainError('reservation-gone', `the reservation of ${of.orderId} is not held any more`);
  const items = await itemsOf(tx, of.orderId);
  await lockProducts(tx, of.context.metadata.tenantId, items);
  await moveStock(tx, of.context.metadata.tenantId, items, { onHand: -1, reserved: -1 });
  await setState(tx, of.orderId, 'consumed');
}

/** The goods come back after a confirmation. Once. */
export async function restockConsumed(unit: UnitOfWork, of: ReservationOf): Promise<void> {
  if ((await lockReservation(unit.tx, of.orderId)) !== 'consumed') return;
  const items = await itemsOf(unit.tx, of.orderId);
  await lockProducts(unit.tx, of.context.metadata.tenantId, items);
  await moveStock(unit.tx, of.context.metadata.tenantId, items, { onHand: 1, reserved: 0 });
  await setState(unit.tx, of.orderId, 'released');
  await unit.append(inventoryEvent('inventory.released', of, items), 'exists');
}

/**
 * What an operator did about it instead. `settled`: the stock was put right by other means, so no number of ours moves
 * and a late step finds the reservation closed. `skip`: what is held stays held. Either way the row says where to look.
 */
export async function settleByHand(
  tx: Tx,
  of: ReservationOf,
  { action, reference }: Readonly<{ action: 'skip' | 'settled'; reference: string }>,
): Promise<void> {
  if (action === 'settled') {
    await claimReservation(tx, of, 'released');
    await setState(tx, of.orderId, 'released');
  }
  await tx
    .updateTable('reservations')
    .set({ settled_by_hand: reference, updated_at: sql<Date>`now()` })
    .where('order_id', '=', of.orderId)
    .execute();
}

type State = 'held' | 'consumed' | 'released';

/** Inserts the row in `state`, or waits for whoever is inserting it. @returns the state that was there before */
async function claimReservation(
  tx: Tx,
  of: ReservationOf,
  state: 'held' | 'released',
  hold?: Hold,
): Promise<State | undefined> {
  const { numInsertedOrUpdatedRows } = await tx
    .insertInto('reservations')
    .values({
      reservation_id: reservationIdOf(of.orderId),
      tenant_id: of.context.metadata.tenantId,
      order_id: of.orderId,
      state,
      workflow_id: hold?.workflowId ?? null,
      expires_at: hold === undefined ? null : sql<Date>`now() + make_interval(secs => ${hold.seconds})`,
    })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirst();
  return (numInsertedOrUpdatedRows ?? 0n) > 0n ? undefined : await lockReservation(tx, of.orderId);
}

async function lockReservation(tx: Tx, orderId: string): Promise<State | undefined> {
  const row = await tx
    .selectFrom('reservations')
    .select('state')
    .where('order_id', '=', orderId)
    .forUpdate()
    .executeTakeFirst();
  return row?.state;
}

async function setState(tx: Tx, orderId: string, state: State): Promise<void> {
  await tx
    .updateTable('reservations')
    .set({ state, updated_at: sql<Date>`now()` })
    .where('order_id', '=', orderId)
    .execute();
}

async function itemsOf(tx: Tx, orderId: string): Promise<readonly Item[]> {
  const rows = await tx
    .selectFrom('reservation_items')
    .select(['product_id', 'quantity'])
    .where('reservation_id', '=', reservationIdOf(orderId))
    .orderBy('product_id')
    .execute();
  return rows.map((row) => ({ productId: row.product_id, quantity: row.quantity }));
}

async function lockProducts(
  tx: Tx,
  tenantId: string,
  items: readonly Item[],
): Promise<ReadonlyMap<string, Readonly<{ available: number }>>> {
  const { rows } = await sql<{ product_id: string; available: number }>`
    select product_id, on_hand - reserved as available from products
    where tenant_id = ${tenantId} and product_id = any(${items.map((item) => item.productId)}::text[])
    order by product_id collate "C"
    for update`.execute(tx);
  return new Map(rows.map((row) => [row.product_id, row]));
}

async function moveStock(
  tx: Tx,
  tenantId: string,
  items: readonly Item[],
  signs: Readonly<{ onHand: -1 | 0 | 1; reserved: -1 | 0 | 1 }>,
): Promise<void> {
  await sql`
    update products set
      on_hand = on_hand + ${signs.onHand}::int * item.quantity,
      reserved = reserved + ${signs.reserved}::int * item.quantity,
      updated_at = now()
    from unnest(${items.map((item) => item.productId)}::text[], ${items.map((item) => item.quantity)}::int[])
           as item (product_id, quantity)
    where products.tenant_id = ${tenantId} and products.product_id = item.product_id`.execute(tx);
}

function inventoryEvent(
  eventType: 'inventory.reserved' | 'inventory.released',
  { orderId, context }: ReservationOf,
  items: readonly Item[],
): EventOf<'inventory.reserved' | 'inventory.released'> {
  return {
    eventId: context.nextEventId(),
    eventType,
    occurredAt: context.now(),
    aggregateId: reservationIdOf(orderId),
    aggregateType: reservationAggregate,
    payload: { orderId, items: items.map(({ productId, quantity }) => ({ productId, quantity })) },
    metadata: context.metadata,
  };
}
