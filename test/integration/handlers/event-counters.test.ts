// Counters in PostgreSQL: exact under crowds and roll-backs, and bounded whatever tenants call themselves.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { countOne, mostTenants, readEventCounters } from '../../../src/handlers/event-counters.ts';
import { startShop, type Shop } from '../../support/shop.ts';

let shop: Shop;
beforeEach(async () => {
  shop = await startShop();
});
afterEach(async () => await shop.stop());

const count = async (tenantId: string): Promise<void> =>
  await shop.db.transaction().execute(async (tx) => await countOne(tx, 'orders_submitted_total', tenantId));
const values = async (): Promise<Readonly<Record<string, number>>> =>
  Object.fromEntries((await readEventCounters(shop.db)).map(({ tenant, value }) => [tenant, value]));

describe('an event counter', () => {
  it('loses no step of many that come at once, and adds none that is rolled back', async () => {
    const steps = Array.from({ length: 100 }, async () => await count('acme'));
    const rolledBack = shop.db.transaction().execute(async (tx) => {
      await countOne(tx, 'orders_submitted_total', 'acme');
      throw new Error('rolled back');
    });
    await expect(rolledBack).rejects.toThrow('rolled back');
    await Promise.all(steps);
    expect(await values()).toEqual({ acme: 100 });
  });

  it('of the other name is its own', async () => {
    await count('acme');
    await shop.db.transaction().execute(async (tx) => await countOne(tx, 'users_created_total', 'acme'));
    expect(await readEventCounters(shop.db)).toHaveLength(2);
  });

  it('keeps a label for the tenants that came first, and counts all others together', async () => {
    for (let n = 0; n < mostTenants; n += 1) await count(`tenant-${n}`);
    for (const late of ['late-1', 'late-2', 'other', 'late-1', 'tenant-0']) await count(late);
    const all = await values();
    expect(Object.keys(all)).toHaveLength(mostTenants + 1);
    expect(all).toMatchObject({ 'tenant-0': 2, 'tenant-49': 1, other: 4 });
  });
});
