// Workers, relays, PostgreSQL and Temporal are killed with -9 again and again, at random, while customers order, pay,
// cancel and the gateway calls back. Nobody mends anything. SAGAS=500 plays longer, SEED=… repeats what a run has printed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, expect, it } from 'vitest';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { expectBooksToBalance, runsOf } from '../../support/books.ts';
import { playStories, storiesOf } from '../../support/customers.ts';
import { queueIsEmpty } from '../../support/delivery-books.ts';
import { createHttpClient } from '../../support/http-client.ts';
import { killAtRandom, type Victim } from '../../support/killer.ts';
import { submittedOf } from '../../support/liveness.ts';
import { startOwnPostgres } from '../../support/own-postgres.ts';
import { startOwnTemporal } from '../../support/own-temporal.ts';
import { propertyRuns } from '../../support/property-runs.ts';
import { createRoleProcesses, runMain, type Role, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, startSagaService, type SagaService } from '../../support/saga-service.ts';

const sagas = Number(process.env['SAGAS'] || '100');
const { seed } = propertyRuns(1, 0);
const limitMilliseconds = 4 * 60_000 + sagas * 3_000;

const cleanUps: (() => Promise<unknown> | void)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

/** All of it on servers of the test's own. */
async function startEverything(): Promise<
  Readonly<{ service: SagaService; roles: RoleProcesses; servers: readonly Victim[] }>
> {
  const postgres = await startOwnPostgres();
  cleanUps.push(postgres.remove);
  const temporal = await startOwnTemporal();
  cleanUps.push(temporal.remove);
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-bundle-'));
  cleanUps.push(() => rmSync(folder, { recursive: true, force: true }));
  const bundle = { WORKFLOW_BUNDLE: join(folder, 'workflows.js') };
  expect(await runMain(['bundle'], bundle, 120_000)).toMatchObject({ code: 0 });
  const service = await startSagaService({
    worker: false,
    relay: false,
    environment: { DATABASE_URL: postgres.url, ...temporal.environment, ...bundle, PAYMENT_DEADLINE_SECONDS: '20' },
  });
  cleanUps.push(async () => await service.stop());
  const roles = createRoleProcesses(service.environment);
  cleanUps.push(async () => await roles.stop());
  const kill = async (): Promise<void> => await postgres.crash('SIGKILL');
  const servers = [
    { kind: 'PostgreSQL', leastTimes: 3, kill, bringBack: postgres.startAgain },
    { kind: 'Temporal', leastTimes: 3, kill: temporal.kill, bringBack: temporal.startAgain },
  ];
  return { service, roles, servers };
}

/** A process of that role, and whoever takes its place. One that ends by itself fails the test. */
async function startVictim(roles: RoleProcesses, role: Role, onUnexpectedEnd: (why: string) => void): Promise<Victim> {
  const begin = async () => {
    const process = await roles.start(role);
    const watched = { process, isWanted: false };
    void process.ended.then(({ code, signal }) => {
      if (!watched.isWanted) onUnexpectedEnd(`${role} ended by itself (${code ?? signal}): ${process.log()}`);
    });
    return watched;
  };
  let current = await begin();
  cleanUps.push(() => void (current.isWanted = true));
  return {
    kind: role,
    leastTimes: 2,
    async kill() {
      current.isWanted = true;
      await current.process.kill();
    },
    async bringBack() {
      current = await begin();
    },
  };
}

/** Each run of the one handler of `payment.completed` that was committed, also one that changed nothing. */
async function noteHandlersEffects({ parts: { db } }: SagaService): Promise<void> {
  await sql`create table payments_recorded (order_id uuid not null)`.execute(db);
  await sql`
    create function note_recorded_payment() returns trigger language plpgsql as $$
      begin insert into payments_recorded values (new.order_id); return null; end $$`.execute(db);
  await sql`
    create trigger recorded after update of paid_at on orders
    for each row execute function note_recorded_payment()`.execute(db);
}

async function expectHandlersEffectsOnce({ parts: { db } }: SagaService): Promise<void> {
  const { rows: wrong } = await sql`
    select recorded.order_id, recorded.times::int as recorded, completed.order_id, completed.times::int as completed
    from (select order_id::text, count(*) as times from payments_recorded group by 1) as recorded
    full join (
      select payload ->> 'orderId' as order_id, count(*) as times
      from events where event_type = 'payment.completed' group by 1
    ) as completed on completed.order_id = recorded.order_id
    where recorded.times is distinct from completed.times`.execute(db);
  expect(wrong).toEqual([]);
  // The read model has seen each event once, too.
  await eventually(async () => {
    const { rows } = await sql<{ sold: number; confirmed: number }>`
      select (select coalesce(sum(quantity), 0)::int from product_sales) as sold,
             (select 2 * count(*)::int from orders where status = 'confirmed') as confirmed`.execute(db);
    return rows[0]?.sold === rows[0]?.confirmed ? true : undefined;
  });
}

async function printFigures({ parts: { db } }: SagaService): Promise<void> {
  const { rows: ends } = await sql`
    select status, split_part(failure_reason, ':', 1) as why, count(*)::int from orders group by 1, 2 order by 1, 2`.execute(
    db,
  );
  console.table(ends);
  const { rows: deliveries } = await sql`
    select destination, count(*)::int as deliveries, count(*) filter (where attempts > 1)::int as "made again",
           sum(attempts - 1)::int as "attempts burnt", max(attempts) as "most attempts"
    from outbox group by 1 order by 1`.execute(db);
  console.table(deliveries);
  const { rows: steps } = await sql`
    select step, count(*)::int as steps, count(*) filter (where attempts > 1)::int as "done again",
           max(attempts) as "most attempts"
    from saga_steps group by 1 order by 1`.execute(db);
  console.table(steps);
}

it(
  `${sagas} sagas end right, once each, while all that they need is killed again and again`,
  { timeout: limitMilliseconds },
  async () => {
    console.log(`SEED=${seed} SAGAS=${sagas}`);
    const { service, roles, servers } = await startEverything();
    const { db } = service.parts;
    await service.stock(2 * sagas);
    await noteHandlersEffects(service);
    const api = await roles.start('api');
    const unexpectedEnds: string[] = [];
    const victims = await Promise.all(
      (['worker', 'worker', 'relay', 'relay'] as const).map(
        async (role) => await startVictim(roles, role, (why) => unexpectedEnds.push(why)),
      ),
    );

    const begun = performance.now();
    const seconds = (): string => ((performance.now() - begun) / 1000).toFixed(0);
    const lastOrder = new AbortController();
    const killing = AbortSignal.any([lastOrder.signal, AbortSignal.timeout(sagas * 600)]);
    const [orderIds, kills] = await Promise.all([
      playStories(createHttpClient(api.url), storiesOf(sagas, seed), () => lastOrder.abort()).finally(() =>
        console.log(`${seconds()} s: all is ordered, cancelled and called back`),
      ),
      killAtRandom([...servers, ...victims], seed, killing).finally(() =>
        console.log(`${seconds()} s: the killing is over`),
      ),
    ]);
    console.log(`killed: ${[...kills].map(([kind, times]) => `${kind} ${times} times`).join(', ')}`);
    expect(Math.min(...kills.values())).toBeGreaterThanOrEqual(3);
    expect(unexpectedEnds).toEqual([]);

    expect(orderIds).toHaveLength(sagas);
    await eventually(async () => ((await submittedOf(service, orderIds)).length === 0 ? true : undefined), 180_000);
    console.log(`${seconds()} s: all orders have ended`);
    // What a killed relay had claimed waits for the end of its lease.
    await queueIsEmpty(service.parts, 120_000);
    console.log(`${seconds()} s: all is delivered`);
    await printFigures(service);

    await expectBooksToBalance(service.parts, { stocked: { lamp: 2 * sagas } });
    await expectHandlersEffectsOnce(service);
    for (const orderId of orderIds) expect(await runsOf(service.parts, orderSagaId(orderId))).toHaveLength(1);
    expect(await db.selectFrom('saga_steps').selectAll().where('state', '=', 'parked').execute()).toEqual([]);
    const { rows: ends } = await sql<{ status: string }>`select distinct status from orders order by 1`.execute(db);
    expect(ends.map(({ status }) => status)).toEqual(['cancelled', 'confirmed', 'failed']);
    expect(unexpectedEnds).toEqual([]);
  },
);
