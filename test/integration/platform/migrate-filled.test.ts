// Migrations over a database that has lived: orders of every kind, money, stock, users, deliveries in every state.
import { sql } from 'kysely';
import { expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { createSubscription } from '../../../src/event-store/subscription.ts';
import { consumeStock, releaseStock, reserveStock } from '../../../src/inventory/reservations.ts';
import { productSalesSubscription } from '../../../src/orders/product-sales.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { claimDeliveries } from '../../../src/outbox/outbox-rows.ts';
import { migrateDown, migrateToLatest } from '../../../src/platform/migrate.ts';
import { newSecret } from '../../../src/webhooks/signature.ts';
import { createWebhookEndpoints } from '../../../src/webhooks/webhook-endpoints.ts';
import { createEmptyDatabase, type EmptyDatabase } from '../../support/empty-database.ts';
import { lagOf } from '../../support/lag.ts';
import { eventually } from '../../support/saga-service.ts';
import { metadata, ofOrder, openShop, tenantId, type Shop } from '../../support/shop.ts';

const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];
const methods = ['pm_ok', 'pm_declined', 'pm_pending', 'pm_ok', 'pm_ok'];
const ends = ['draft', 'submitted', 'requested', 'confirmed', 'failed', 'cancelled'] as const;

async function orderThatIs(shop: Shop, end: (typeof ends)[number]): Promise<void> {
  const input = { customerId: 'c-1', currency: 'EUR', paymentMethod: 'pm_ok', items };
  const { orderId } = (await shop.commands.create(input, metadata)).state;
  if (end === 'draft') return;
  await shop.commands.submit(orderId, metadata);
  const of = ofOrder(orderId);
  await shop.unitOfWork(async (unit) => await reserveStock(unit, of, items));
  if (end === 'submitted') return;
  const order = await loadOrder(shop.repository, orderId, of.context);
  if (end === 'requested') order.requestCancellation('changed my mind', 'customer');
  if (end === 'confirmed') order.markAsConfirmed(newId());
  if (end === 'failed') order.markAsFailed('payment-declined: no');
  if (end === 'cancelled') order.markAsCancelled('changed my mind', 'customer');
  await shop.repository.save(order);
  if (end === 'confirmed') await shop.unitOfWork(async ({ tx }) => await consumeStock(tx, of));
  if (end === 'failed' || end === 'cancelled') await shop.unitOfWork(async (unit) => await releaseStock(unit, of));
}

async function payments({ gateway }: Shop): Promise<void> {
  for (const [n, method] of methods.entries()) {
    const order = { tenantId, orderId: newId(), amount: 3000, currency: 'EUR' };
    const { paymentId } = await gateway.prepare({ ...order, method, key: `key-${n}` });
    if (n === 4) await gateway.cancel(paymentId);
    else await gateway.capture(paymentId);
    if (n === 3) await gateway.refund(paymentId, { key: 'refund', amount: 3000 });
  }
}

async function fill(url: string): Promise<void> {
  const shop = openShop(url);
  const { db } = shop;
  try {
    await shop.products.put(tenantId, 'lamp', { name: 'Lamp', onHand: 100 });
    for (const end of ends) await orderThatIs(shop, end);
    await payments(shop);
    await shop.userCommands.create({ email: 'ada@example.com' }, metadata);
    const webhook = { id: newId(), url: 'https://example.com/', events: ['*'], secret: newSecret() };
    await createWebhookEndpoints(db).create(tenantId, webhook);
    const sales = createSubscription(shop, productSalesSubscription);
    await eventually(async () => {
      await sales.runOnce();
      return (await lagOf(db, productSalesSubscription.name)) === 0 ? true : undefined;
    });
    // Of the deliveries some are done, dead, sent again, leased, or wait for their next attempt.
    await sql`
      with numbered as (select id, destination, row_number() over (order by position, destination) % 6 as n from outbox)
      update outbox set
        state = case n when 0 then 'done' when 1 then 'dead' else 'pending' end,
        published_at = case n when 0 then now() end,
        attempts = n, last_error = case when n in (1, 2) then 'Error: no' end,
        redelivered = n = 2,
        locked_by = case n when 3 then 'relay-1' end,
        locked_until = case n when 3 then now() + interval '1 minute' end,
        next_attempt_at = case n when 4 then now() + interval '1 hour' else now() end
      from numbered where numbered.id = outbox.id and numbered.destination = outbox.destination`.execute(db);
    await sql`insert into inbox (handler_name, event_id) select 'orders.record-payment', id from events`.execute(db);
    await sql`
      insert into delivery_epochs (destination, store, epoch, safe_until) values ('bus', 'redis', gen_random_uuid(), now())`.execute(
      db,
    );
    await sql`
      insert into shipments (shipment_id, tenant_id, order_id, idempotency_key, items)
      values (gen_random_uuid(), 'default', gen_random_uuid(), 'k-1', '[]')`.execute(db);
    await sql`insert into job_keys (name, key) values ('refund', 'k-1')`.execute(db);
    await sql`insert into event_counters values ('orders_submitted_total', 'default', 1, 3)`.execute(db);
    await sql`insert into job_keys (name, key) values ('refund', 'o-1')`.execute(db);
    await sql`insert into relay_heartbeats values ('bus', 'relay-1', now())`.execute(db);
    await sql`insert into outbox_destinations (destination, paused) values ('bus', false)`.execute(db);
    await sql`
      insert into saga_starts (workflow_id, aggregate_id, event_id, state, started_at)
      select 'order-saga-' || aggregate_id, aggregate_id, id, 'started', now() from events
      where event_type = 'order.submitted'`.execute(db);
    await sql`
      insert into saga_steps (workflow_id, step, state)
      select workflow_id, step, step from saga_starts,
        unnest(array['pending', 'running', 'done', 'refused', 'undone', 'parked']) as step`.execute(db);
    await sql`
      insert into idempotency_keys (tenant_id, method, path, key, request_hash, status, headers, body)
      values ('default', 'POST', '/orders', 'k-1', 'hash', 201, '{}', '{}'),
             ('default', 'POST', '/orders', 'k-2', 'hash', null, null, null)`.execute(db);
  } finally {
    await shop.stop();
  }
}

type Tables = ReadonlyMap<string, readonly Readonly<Record<string, unknown>>[]>;

async function readTables({ query }: EmptyDatabase): Promise<Tables> {
  const tables = await query<{ name: string }>(`
    select table_name as name from information_schema.tables
    where table_schema = 'public' and table_name not like 'kysely%' order by 1`);
  const read = async ({ name }: { name: string }): Promise<[string, Record<string, unknown>[]]> => {
    const rows = await query<{ row: Record<string, unknown> }>(`select to_jsonb(t) as row from ${name} t order by 1`);
    return [name, rows.map(({ row }) => row)];
  };
  return new Map(await Promise.all(tables.map(read)));
}

/** Only what `kept` has as well: a table or a column that was taken away and made again is new. */
function within(tables: Tables, kept: Tables): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    [...kept].map(([name, rows]) => {
      const columns = Object.keys(rows[0] ?? {});
      const cut = (tables.get(name) ?? []).map((row) =>
        Object.fromEntries(columns.map((column) => [column, row[column]])),
      );
      return [name, cut];
    }),
  );
}

it('back by some steps and forward again keeps every row that is not of what they take away, and deliveries go on', async () => {
  const database = await createEmptyDatabase();
  const run = await migrateToLatest(database.url);
  await fill(database.url);
  const filled = await readTables(database);
  for (const [name, rows] of filled) expect({ name, isFilled: rows.length > 0 }).toEqual({ name, isFilled: true });

  // The first four make the tables that are filled here; those after them change what is there.
  for (const steps of [1, run.length - 4]) {
    for (let step = 0; step < steps; step += 1) await migrateDown(database.url);
    const kept = await readTables(database);
    expect(await migrateToLatest(database.url), `${steps} steps`).toHaveLength(steps);
    expect(within(await readTables(database), kept), `${steps} steps`).toEqual(within(filled, kept));
  }
  const shop = openShop(database.url);
  const claim = { owner: 'me', limit: 100, leaseSeconds: 60, blockedByDead: false };
  for (const destination of ['bus', 'temporal']) {
    expect((await claimDeliveries(shop.db, { ...claim, destination })).length).toBeGreaterThan(0);
  }
  await orderThatIs(shop, 'submitted');
  await shop.stop();

  for (const _ of run) await migrateDown(database.url);
  expect([...(await readTables(database)).keys()]).toEqual([]);
  expect(await migrateToLatest(database.url)).toEqual(run);
  await database.drop();
});
