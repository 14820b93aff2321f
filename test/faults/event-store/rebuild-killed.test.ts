// A read model that is rebuilt by command while a relay runs in another process, and the relay is killed with -9 in the
// middle of it.
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { newId, stepContext } from '../../../src/domain/ids.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { scrape } from '../../support/metrics.ts';
import { createRoleProcesses, runMain, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';

const name = 'orders.product-sales';
const orders = 1_200;
let service: SagaService;
let roles: RoleProcesses;
beforeEach(async () => {
  service = await startSagaService({ worker: false, relay: false });
  roles = createRoleProcesses(service.environment);
  await appendSoldOrders();
});
afterEach(async () => {
  await roles.stop();
  await service.stop();
});

/** A log of the past: each order submitted and confirmed, a third of them cancelled afterwards. No deliveries. */
async function appendSoldOrders(): Promise<void> {
  await sql`
    with sold as (
      select gen_random_uuid() as id, n, pg_current_xact_id() as xid from generate_series(1, ${orders}::int) n
    ),
    streams as (
      insert into streams (aggregate_id, aggregate_type, tenant_id, version, last_xid)
      select id::text, 'order', 'default', case when n % 3 = 0 then 3 else 2 end, xid from sold
    )
    insert into events (id, event_type, aggregate_id, aggregate_type, version, payload, metadata, schema_version,
                        tenant_id, occurred_at, ordering_xid)
    select gen_random_uuid(), event_type, id::text, 'order', version, payload || jsonb_build_object('orderId', id),
           '{"tenantId": "default"}', 1, 'default', now(), xid
    from sold cross join lateral (values
      (1, 'order.submitted', jsonb_build_object('customerId', 'c', 'total', 100 * n, 'currency', 'EUR',
        'paymentMethod', 'pm_ok', 'items',
        jsonb_build_array(jsonb_build_object('productId', 'p' || n % 7, 'quantity', n, 'price', 100)))),
      (2, 'order.confirmed', jsonb_build_object('paymentId', 'p')),
      (3, 'order.cancelled', jsonb_build_object('customerId', 'c', 'reason', 'r', 'cancelledBy', 'c'))
    ) as event (version, event_type, payload)
    where version < 3 or n % 3 = 0
    order by n, version`.execute(service.parts.db);
}

/** From the log alone, by other means than the read model's. */
const salesInTheLog = async () =>
  (
    await sql<{ product_id: string; quantity: number; revenue: number }>`
      select item ->> 'productId' as product_id, sum((item ->> 'quantity')::bigint)::bigint as quantity,
             sum((item ->> 'quantity')::bigint * (item ->> 'price')::bigint)::bigint as revenue
      from events submitted, jsonb_array_elements(payload -> 'items') item
      where event_type = 'order.submitted'
        and exists (select from events e where e.aggregate_id = submitted.aggregate_id and event_type = 'order.confirmed')
        and not exists (select from events e where e.aggregate_id = submitted.aggregate_id and event_type = 'order.cancelled')
      group by 1 order by 1`.execute(service.parts.db)
  ).rows;
const salesInTheModel = async () =>
  await service.parts.db
    .selectFrom('product_sales')
    .select(['product_id', 'quantity', 'revenue'])
    .where('quantity', '>', 0)
    .orderBy('product_id')
    .execute();

type Progress = Readonly<{ applied: number; left: number; replaying: boolean }>;
async function progress(): Promise<Progress> {
  const { rows } = await sql<Progress>`
    select count(*) filter (where (e.ordering_xid, e.position) <= (s.xid, s.position))::int as applied,
           count(*) filter (where (e.ordering_xid, e.position) > (s.xid, s.position))::int as left,
           replay_until_xid is not null as replaying
    from subscriptions s, events e where s.name = ${name} group by s.name`.execute(service.parts.db);
  return rows[0] ?? { applied: 0, left: Number.NaN, replaying: false };
}
const until = async (holds: (now: Progress) => boolean): Promise<Progress> =>
  await eventually(async () => {
    const now = await progress();
    return holds(now) ? now : undefined;
  }, 120_000);

async function sellOne(): Promise<void> {
  const orderId = await service.submit({ items: [{ productId: 'p1', quantity: 5, price: 11 }] });
  const order = await loadOrder(service.parts.repository, orderId, stepContext(metadata, orderId, 'confirm'));
  order.markAsConfirmed(newId());
  await service.parts.repository.save(order);
}

it('goes on where it was after a kill -9, takes up what is sold meanwhile, and comes out exact', async () => {
  const first = await roles.start('relay');
  const all = await until(({ left }) => left === 0);
  expect(await salesInTheModel()).toEqual(await salesInTheLog());

  const command = await runMain(['subscriptions', 'rebuild', name], {
    DATABASE_URL: service.environment['DATABASE_URL'] ?? '',
  });
  expect(command).toMatchObject({ code: 0, stderr: '' });
  await sellOne();
  const begun = await until(({ applied, replaying }) => replaying && applied >= 200 && applied < all.applied - 800);
  await first.kill();
  const killed = await progress();
  expect(killed.replaying).toBe(true);
  expect(killed.applied).toBeGreaterThanOrEqual(begun.applied);
  expect(killed.applied).toBeLessThan(all.applied);
  await sellOne();

  const second = await roles.start('relay');
  const behind = await eventually(async () => {
    const lag = (await scrape(second.url)).value('subscription_lag_events', { name });
    return lag !== undefined && lag > 0 ? lag : undefined;
  });
  // From the checkpoint on, not from the beginning: what was left then, and the order that was sold since.
  expect(behind).toBeLessThanOrEqual(killed.left + 4);
  await until(({ left, replaying }) => left === 0 && !replaying);
  await sellOne();
  await until(({ left }) => left === 0);
  expect(await salesInTheModel()).toEqual(await salesInTheLog());
});
