// The example as a newcomer meets it: one file, run to its end on a machine with nothing started; and the same file as
// the service of the team that wrote it, role by role. Judged by what it prints and by the rows that it leaves.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keptPorts } from '../../src/embedded/ports.ts';
import { startPostgres } from '../../src/embedded/postgres.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';
import { connectDatabase, type Db } from '../../src/platform/database.ts';
import { createDataDirs, type DataDirs } from '../support/data-dirs.ts';
import { portsOf, whatIsLeftIn } from '../support/dev-process.ts';
import { createHttpClient } from '../support/http-client.ts';
import { createRoleProcesses, runToEnd, type CommandEnd, type RoleProcesses } from '../support/role-process.ts';
import { confirmWithoutSaga, eventually, startSagaService, type SagaService } from '../support/saga-service.ts';

const example = fileURLToPath(new URL('../../examples/order-flow.ts', import.meta.url));
const run = async (args: readonly string[], environment: Readonly<Record<string, string>>): Promise<CommandEnd> =>
  await runToEnd(process.execPath, [example, ...args], environment, 170_000);

it('the example is shorter than sixty lines', () => {
  expect(readFileSync(example, 'utf8').trimEnd().split('\n').length).toBeLessThan(60);
});

describe('the example, run by itself', () => {
  let dirs: DataDirs;
  let folder: string;
  beforeAll(() => {
    dirs = createDataDirs();
    folder = dirs.create('example');
  });
  afterAll(() => dirs.remove());

  /** In the example's own PostgreSQL, started again for this. */
  async function lookInto<T>(look: (db: Db) => Promise<T>): Promise<T> {
    const watchdog = startWatchdog(process.env);
    const port = keptPorts(folder).postgres ?? 0;
    const report = (): void => undefined;
    const { adopt } = watchdog;
    const postgres = await startPostgres({ folder, port, durable: true, environment: process.env, report, adopt });
    const url = new URL('/athyper', postgres.url).href;
    const db = connectDatabase({ url, poolSize: 1, applicationName: 'test', onIdleError: report });
    try {
      return await look(db);
    } finally {
      await db.destroy();
      await postgres.stop();
      await watchdog.release();
    }
  }

  it('takes an order all the way to points in its own read model, once, stops all that it started, and is content', async () => {
    const nobody = '127.0.0.1:1';
    const end = await run([], {
      DATA_DIR: dirs.parent,
      TEMPORAL_CLI: process.env['TEMPORAL_CLI'] ?? '',
      // Servers that are meant for something else: they are left alone.
      DATABASE_URL: `postgres://${nobody}/other`,
      REDIS_URL: `redis://${nobody}`,
      TEMPORAL_ADDRESS: nobody,
    });
    expect(end).toMatchObject({ code: 0, stderr: '' });
    const [, orderId = '', points, customerId = ''] =
      /^Order (\S+) is confirmed: (\d+) points for (\S+)\.$/m.exec(end.stdout) ?? [];
    expect(points, end.stdout).toBe('39');
    expect(end.stdout).toMatch(new RegExp(`^Its saga: http://127\\.0\\.0\\.1:\\d+/\\S+/order-saga-${orderId}/`, 'm'));
    expect(await whatIsLeftIn(folder, portsOf(folder))).toEqual([]);

    await lookInto(async (db) => {
      const kept = await sql`select tenant_id, customer_id, points::int from loyalty_points`.execute(db);
      expect(kept.rows).toEqual([{ tenant_id: 'default', customer_id: customerId, points: 39 }]);
      const stored = await sql`
        select aggregate_id, payload from events where event_type = 'loyalty.points_earned'`.execute(db);
      expect(stored.rows).toEqual([
        { aggregate_id: `loyalty-${orderId}`, payload: { customerId, orderId, points: 39 } },
      ]);
      expect((await sql`select from outbox where state = 'dead'`.execute(db)).rows).toEqual([]);
    });
  });
});

describe('the example as a service, its roles apart', () => {
  let service: SagaService;
  let roles: RoleProcesses;
  beforeAll(async () => {
    // Gives the database and the settings; it knows nothing of the example, and nothing of it runs.
    service = await startSagaService({ worker: false, relay: false });
    roles = createRoleProcesses(service.environment);
  });
  afterAll(async () => {
    await roles.stop();
    await service.stop();
  });

  it('makes its tables, handles in the relay, and tells of its events in the API', async () => {
    expect(await run(['migrate'], service.environment)).toMatchObject({
      code: 0,
      stdout: 'Migrated: loyalty/0001-points.\n',
    });
    const [relay, api] = await Promise.all([roles.start('relay', {}, example), roles.start('api', {}, example)]);
    const orderId = await confirmWithoutSaga(service, 'ada');
    const events = await eventually(async () => {
      const { status, body } = await createHttpClient(api.url).get('/events?type=loyalty.points_earned');
      expect(status).toBe(200);
      const found = (body as { events: readonly unknown[] }).events;
      return found.length > 0 ? found : undefined;
    });
    expect(events).toMatchObject([{ payload: { customerId: 'ada', orderId, points: 30 } }]);
    const kept = await eventually(async () => {
      const { rows } = await sql`select customer_id, points::int from loyalty_points`.execute(service.parts.db);
      return rows.length > 0 ? rows : undefined;
    });
    expect(kept).toEqual([{ customer_id: 'ada', points: 30 }]);
    expect(relay.log()).not.toContain('"level":50');
  });
});
