// Stock: all or nothing, never below zero, once, and a release that comes before its reservation.
import { sql } from 'kysely';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DomainError } from '../../../src/domain/errors.ts';
import { newId } from '../../../src/domain/ids.ts';
import {
  consumeStock,
  releaseStock,
  reserveStock,
  restockConsumed,
  type ReservationOf,
} from '../../../src/inventory/reservations.ts';
import { ofOrder, startShop, tenantId, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeAll(async () => {
  shop = await startShop();
});
afterAll(async () => await shop.stop());
beforeEach(async () => {
  await sql`truncate reservation_items, reservations, products`.execute(shop.db);
  await shop.products.put(tenantId, 'lamp', { name: 'Lamp', onHand: 10 });
  await shop.products.put(tenantId, 'shade', { name: 'Shade', onHand: 10 });
});

type Items = readonly Readonly<{ productId: string; quantity: number }>[];
const lamps = (quantity: number): Items => [{ productId: 'lamp', quantity }];

const reserve = async (of: ReservationOf, items: Items): Promise<void> =>
  await shop.unitOfWork(async (unit) => await reserveStock(unit, of, items));
const release = async (of: ReservationOf): Promise<void> =>
  await shop.unitOfWork(async (unit) => await releaseStock(unit, of));
const consume = async (of: ReservationOf): Promise<void> =>
  await shop.unitOfWork(async (unit) => await consumeStock(unit.tx, of));
const restock = async (of: ReservationOf): Promise<void> =>
  await shop.unitOfWork(async (unit) => await restockConsumed(unit, of));

async function stock(productId = 'lamp'): Promise<{ onHand: number; reserved: number }> {
  const product = await shop.products.find(tenantId, productId);
  if (product === undefined) throw new Error(`no ${productId}`);
  return { onHand: product.onHand, reserved: product.reserved };
}

async function stateOf({ orderId }: ReservationOf): Promise<string | undefined> {
  const row = await shop.db
    .selectFrom('reservations')
    .select('state')
    .where('order_id', '=', orderId)
    .executeTakeFirst();
  return row?.state;
}

async function eventsOf({ orderId }: ReservationOf): Promise<readonly unknown[]> {
  const { rows } = await sql<{ type: string; items: unknown }>`
    select event_type as type, payload->'items' as items from events
    where aggregate_type = 'reservation' and payload->>'orderId' = ${orderId} order by version`.execute(shop.db);
  return rows.map((row) => [row.type, row.items]);
}

async function refusalOf(work: Promise<void>): Promise<string> {
  const error: unknown = await work.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(DomainError);
  return (error as DomainError).code;
}

describe('reserving', () => {
  it('takes every item of the order, and says so in one event', async () => {
    const of = ofOrder();
    const items = [
      { productId: 'shade', quantity: 3 },
      { productId: 'lamp', quantity: 2 },
    ];
    await reserve(of, items);
    expect(await stock('lamp')).toEqual({ onHand: 10, reserved: 2 });
    expect(await stock('shade')).toEqual({ onHand: 10, reserved: 3 });
    expect(await eventsOf(of)).toEqual([['inventory.reserved', items]]);
    expect(await stateOf(of)).toBe('held');
  });

  it.each([
    ['one is short', [...lamps(1), { productId: 'shade', quantity: 11 }], 'out-of-stock'],
    ['one is not known', [...lamps(1), { productId: 'nowhere', quantity: 1 }], 'unknown-product'],
  ])('takes nothing where %s', async (_, items, code) => {
    const of = ofOrder();
    expect(await refusalOf(reserve(of, items))).toBe(code);
    expect(await stock('lamp')).toEqual({ onHand: 10, reserved: 0 });
    expect(await stock('shade')).toEqual({ onHand: 10, reserved: 0 });
    expect(await eventsOf(of)).toEqual([]);
    expect(await stateOf(of)).toBeUndefined();
  });

  it('takes the last piece and not one more', async () => {
    await reserve(ofOrder(), lamps(10));
    expect(await refusalOf(reserve(ofOrder(), lamps(1)))).toBe('out-of-stock');
    expect(await stock()).toEqual({ onHand: 10, reserved: 10 });
  });

  it('again for the same order takes nothing more, one after the other or at once', async () => {
    const of = ofOrder();
    await reserve(of, lamps(2));
    await reserve(of, lamps(2));
    const other = ofOrder();
    await Promise.all(Array.from({ length: 5 }, async () => await reserve(other, lamps(3))));
    expect(await stock()).toEqual({ onHand: 10, reserved: 5 });
    expect(await eventsOf(of)).toHaveLength(1);
    expect(await eventsOf(other)).toHaveLength(1);
  });

  it('sees the stock of its own tenant only', async () => {
    const of = ofOrder();
    const foreign = { ...of, context: { ...of.context, metadata: { tenantId: 'acme' } } };
    expect(await refusalOf(reserve(foreign, lamps(1)))).toBe('unknown-product');
  });

  it('gives 30 orders at once exactly the 10 pieces that there are', async () => {
    const orders = Array.from({ length: 30 }, () => ofOrder());
    const results = await Promise.allSettled(orders.map(async (of) => await reserve(of, lamps(1))));
    expect(results.filter((result) => result.status === 'fulfilled')).toHaveLength(10);
    for (const result of results) {
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'out-of-stock' });
    }
    expect(await stock()).toEqual({ onHand: 10, reserved: 10 });
    const { rows } = await sql`select count(*)::int as held from reservations where state = 'held'`.execute(shop.db);
    expect(rows).toEqual([{ held: 10 }]);
  });

  it('in opposite orders of the items deadlocks nobody', async () => {
    const there = ['lamp', 'shade'].map((productId) => ({ productId, quantity: 1 }));
    await shop.products.put(tenantId, 'lamp', { name: 'Lamp', onHand: 100 });
    await shop.products.put(tenantId, 'shade', { name: 'Shade', onHand: 100 });
    const deadlocks = async (): Promise<number> => {
      const { rows } = await sql<{ deadlocks: number }>`
        select deadlocks::int from pg_stat_database where datname = current_database()`.execute(shop.db);
      return rows[0]?.deadlocks ?? -1;
    };
    const before = await deadlocks();
    await Promise.all(
      Array.from({ length: 60 }, async (_, n) => {
        const of = ofOrder();
        await reserve(of, n % 2 === 0 ? there : there.toReversed());
        if (n % 3 === 0) await release(of);
        if (n % 3 === 1) await consume(of);
      }),
    );
    expect(await deadlocks()).toBe(before);
    expect(await stock('lamp')).toEqual({ onHand: 80, reserved: 20 });
    expect(await stock('shade')).toEqual({ onHand: 80, reserved: 20 });
  });
});

describe('releasing', () => {
  it('gives everything back, once', async () => {
    const of = ofOrder();
    await reserve(of, lamps(4));
    await Promise.all([release(of), release(of), release(of)]);
    await release(of);
    expect(await stock()).toEqual({ onHand: 10, reserved: 0 });
    expect(await eventsOf(of)).toEqual([
      ['inventory.reserved', lamps(4)],
      ['inventory.released', lamps(4)],
    ]);
  });

  it('before the reservation leaves a tombstone: what comes late takes nothing', async () => {
    const of = ofOrder();
    await release(of);
    expect(await stateOf(of)).toBe('released');
    expect(await refusalOf(reserve(of, lamps(1)))).toBe('reservation-gone');
    expect(await stock()).toEqual({ onHand: 10, reserved: 0 });
    expect(await eventsOf(of)).toEqual([]);
  });

  it('and a late reserve of the same order takes nothing either', async () => {
    const of = ofOrder();
    await reserve(of, lamps(1));
    await release(of);
    expect(await refusalOf(reserve(of, lamps(1)))).toBe('reservation-gone');
    expect(await stock()).toEqual({ onHand: 10, reserved: 0 });
  });

  it('at the same time as the reservation ends with nothing held, whoever is first', async () => {
    const orders = Array.from({ length: 20 }, () => ofOrder());
    await Promise.all(
      orders.flatMap((of, n) => {
        const both = [reserve(of, lamps(1)).catch(() => undefined), release(of)];
        return n % 2 === 0 ? both : both.toReversed();
      }),
    );
    expect(await stock()).toEqual({ onHand: 10, reserved: 0 });
    for (const of of orders) expect(await stateOf(of)).toBe('released');
  });

  it('of goods that have left is refused: they are restocked instead', async () => {
    const of = ofOrder();
    await reserve(of, lamps(1));
    await consume(of);
    await expect(release(of)).rejects.toThrow(/consumed/);
    expect(await stock()).toEqual({ onHand: 9, reserved: 0 });
  });
});

describe('consuming', () => {
  it('takes the goods from the stock and from the reservation, once', async () => {
    const of = ofOrder();
    await reserve(of, lamps(4));
    await Promise.all([consume(of), consume(of)]);
    expect(await stock()).toEqual({ onHand: 6, reserved: 0 });
    expect(await stateOf(of)).toBe('consumed');
  });

  it('of what is not held is refused', async () => {
    expect(await refusalOf(consume(ofOrder()))).toBe('reservation-gone');
    const of = ofOrder();
    await reserve(of, lamps(1));
    await release(of);
    expect(await refusalOf(consume(of))).toBe('reservation-gone');
    expect(await stock()).toEqual({ onHand: 10, reserved: 0 });
  });
});

describe('restocking', () => {
  it('puts what was consumed back, once', async () => {
    const of = ofOrder();
    await reserve(of, lamps(4));
    await consume(of);
    await Promise.all([restock(of), restock(of)]);
    expect(await stock()).toEqual({ onHand: 10, reserved: 0 });
    expect(await eventsOf(of)).toHaveLength(2);
  });

  it('puts back nothing that had not left', async () => {
    const of = ofOrder();
    await restock(of);
    await reserve(of, lamps(4));
    await restock(of);
    expect(await stock()).toEqual({ onHand: 10, reserved: 4 });
  });
});

describe('the stock', () => {
  it.each([
    ['more reserved than there is', sql`update products set reserved = on_hand + 1`],
    ['less than nothing reserved', sql`update products set reserved = -1`],
    ['less than nothing on hand', sql`update products set on_hand = -1, reserved = -1`],
    ['a product without a tenant', sql`insert into products (product_id, name, on_hand) values ('x', 'x', 1)`],
  ])('never has %s: the database sees to it', async (_, statement) => {
    await expect(statement.execute(shop.db)).rejects.toThrow(/violates/);
  });

  it('may be set to anything that covers what orders hold', async () => {
    await reserve(ofOrder(), lamps(4));
    expect(await shop.products.put(tenantId, 'lamp', { name: 'Lampe', onHand: 4 })).toEqual({
      productId: 'lamp',
      name: 'Lampe',
      onHand: 4,
      reserved: 4,
      available: 0,
    });
    const refused = shop.products.put(tenantId, 'lamp', { name: 'x', onHand: 3 });
    await expect(refused).rejects.toMatchObject({ code: 'stock-below-reserved', field: 'onHand' });
    expect(await stock()).toEqual({ onHand: 4, reserved: 4 });
  });

  it('of one tenant is not seen by another', async () => {
    await shop.products.put('acme', 'lamp', { name: 'Theirs', onHand: 1 });
    expect(await shop.products.find(tenantId, 'lamp')).toMatchObject({ name: 'Lamp', onHand: 10 });
    expect(await shop.products.find('acme', 'shade')).toBeUndefined();
  });

  it('holds one reservation for an order, whatever is inserted', async () => {
    const { orderId } = ofOrder();
    const insert = async (): Promise<unknown> =>
      await shop.db
        .insertInto('reservations')
        .values({ reservation_id: newId(), tenant_id: tenantId, order_id: orderId, state: 'held' })
        .execute();
    await insert();
    await expect(insert()).rejects.toThrow(/duplicate key/);
  });
});
