// Whoever runs handlers and jobs, killed in the middle of them: afterwards each event has brought on one job, one step of its
// counter and one shipment. What holds a handler in its middle is a lock on the table that it writes next.
import { sql } from 'kysely';
import pg from 'pg';
import { afterEach, expect, it } from 'vitest';
import { commandContext, newId } from '../../../src/domain/ids.ts';
import { loadOrder } from '../../../src/orders/order-repository.ts';
import { createUserCommands } from '../../../src/users/user-commands.ts';
import { createUserRepository } from '../../../src/users/user-repository.ts';
import { letLeasesRunOut } from '../../support/delivery-books.ts';
import { subjectsTo } from '../../support/mail-folder.ts';
import { scrape } from '../../support/metrics.ts';
import { startRedis } from '../../support/redis.ts';
import { createRoleProcesses, type Role, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';

const email = 'ada@example.com';
/** Of a busy machine, whose looks take long, the next one is long in coming. */
const sampledWithin = 90_000;
const cleanUps: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

type World = Readonly<{ service: SagaService; roles: RoleProcesses; relay: RoleProcess; killed: RoleProcess }>;

/** The role that runs handlers and jobs, which is to be killed, and a relay beside it where that is another. */
async function startWorld(role: Role): Promise<World> {
  const environment: Record<string, string> = {};
  if (role === 'consumer') {
    const redis = await startRedis();
    cleanUps.push(async () => await redis.stop());
    environment['REDIS_URL'] = redis.url;
  }
  const service = await startSagaService({ worker: false, relay: false, environment });
  cleanUps.push(async () => await service.stop());
  const roles = createRoleProcesses(service.environment);
  cleanUps.push(async () => await roles.stop());
  const killed = await roles.start(role);
  return { service, roles, killed, relay: role === 'relay' ? killed : await roles.start('relay') };
}

/** Reads go on; whoever writes there waits. */
async function hold({ service }: World, tables: string): Promise<() => Promise<void>> {
  const client = new pg.Client({ connectionString: service.environment['DATABASE_URL'] });
  await client.connect();
  let isReleased = false;
  const release = async (): Promise<void> => {
    if (!isReleased) await client.end();
    isReleased = true;
  };
  cleanUps.push(release);
  await client.query('begin');
  await client.query(`lock table ${tables} in exclusive mode`);
  return release;
}

/** So many connections of that role wait for the lock. */
async function waiting({ service: { parts } }: World, role: Role, count: number): Promise<void> {
  await eventually(async () => {
    const { rows } = await sql`
      select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock' and application_name like ${`athyper-${role}%`}`.execute(
      parts.db,
    );
    return rows.length >= count ? true : undefined;
  }, 60_000);
}

async function confirmedOrder({ service: { parts, commands } }: World, customerId: string): Promise<string> {
  const items = [{ productId: 'lamp', quantity: 2, price: 1500 }];
  const input = { customerId, currency: 'EUR', paymentMethod: 'pm_ok', items };
  const { orderId } = (await commands.create(input, metadata)).state;
  await commands.submit(orderId, metadata);
  const order = await loadOrder(parts.repository, orderId, commandContext(metadata));
  order.markAsConfirmed(newId());
  await parts.repository.save(order);
  return orderId;
}

/** What a quarter of a minute's waiting does to the jobs of a dead process. */
async function letJobsBeMissed({ service: { parts } }: World): Promise<void> {
  await sql`update pgboss.job set heartbeat_on = now() - interval '1 hour' where state = 'active'`.execute(parts.db);
}

type JobCount = Readonly<{ name: string; state: string; count: number }>;
async function jobs({ service: { parts } }: World): Promise<readonly JobCount[]> {
  const { rows } = await sql<JobCount>`
    select name || coalesce(' ' || (data -> 'data' ->> 'template'), '') as name, state::text as state, count(*)::int as count
    from pgboss.job group by 1, 2 order by 1, 2`.execute(parts.db);
  return rows;
}
const shipments = async ({ service: { parts } }: World): Promise<number> =>
  (await parts.db.selectFrom('shipments').select('order_id').execute()).length;

/** All that the events of one user and one order bring on, each once. A job whose process was killed comes again late. */
async function expectAllOnce(world: World, relay: RoleProcess): Promise<void> {
  const done = (name: string): JobCount => ({ name, state: 'completed', count: 1 });
  const wanted = [done('create-shipment'), done('send-mail order-confirmation'), done('send-mail welcome')];
  await eventually(async () => {
    const found = await jobs(world);
    return found.every(({ state }) => state === 'completed') && found.length >= wanted.length ? true : undefined;
  }, 120_000);
  expect(await jobs(world)).toEqual(wanted);
  expect(await shipments(world)).toBe(1);
  expect(subjectsTo(world.roles.dataDir, email)).toHaveLength(2);
  await eventually(async () => {
    const metrics = await scrape(relay.url);
    const counts = ['users_created_total', 'orders_submitted_total'].map((name) =>
      metrics.value(name, { tenant: 'default' }),
    );
    return counts.every((count) => count === 1) ? true : undefined;
  }, sampledWithin);
}

it.each(['relay', 'consumer'] as const)(
  'a %s that is killed in the middle of its handlers, and then of a job, leaves one job, one count and one shipment of each',
  async (role) => {
    const world = await startWorld(role);
    const { service, roles, killed } = world;
    const { db, unitOfWork } = service.parts;
    const releaseHandlers = await hold(world, 'job_keys, event_counters');
    const users = createUserCommands({ users: createUserRepository({ db, unitOfWork }) });
    const { userId } = await users.create({ email }, metadata);
    await confirmedOrder(world, userId);
    // At least the mail and the count of one event, which begin together, each in its own transaction.
    await waiting(world, role, 2);
    await killed.kill();
    const releaseShipment = await hold(world, 'shipments');
    await releaseHandlers();
    await letLeasesRunOut(service.parts);

    const second = await roles.start(role);
    await waiting(world, role, 1);
    await second.kill();
    await letJobsBeMissed(world);
    await releaseShipment();
    const third = await roles.start(role);
    await expectAllOnce(world, role === 'relay' ? third : world.relay);
  },
);
