// PostgreSQL's connections go silent: nobody closes them, and nothing comes over them any more. New ones work.
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { findFreePort } from '../../../src/embedded/children/free-port.ts';
import { readSettings } from '../../../src/platform/config.ts';
import { connectDatabase, isDatabaseUnavailable, type Db, type Tx } from '../../../src/platform/database.ts';
import type { Running } from '../../../src/platform/lifecycle.ts';
import { withDatabase } from '../../../src/platform/migrate.ts';
import { startApi } from '../../../src/processes/api.ts';
import { createParts, type Parts } from '../../../src/processes/parts.ts';
import { apiReadiness } from '../../../src/processes/readiness.ts';
import { startRelay } from '../../../src/processes/relay.ts';
import { createTestDatabase } from '../../support/database.ts';
import { createHttpClient, createOrder, orderInput } from '../../support/http-client.ts';
import { eventually, startSagaService, type SagaService } from '../../support/saga-service.ts';
import { startDatabaseProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

const longestSilenceMilliseconds = 1_500;

const cleanUps: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

async function proxyTo(databaseUrl: string): Promise<Readonly<{ proxy: TcpProxy; url: string }>> {
  const way = await startDatabaseProxy(databaseUrl);
  cleanUps.push(async () => await way.proxy.close());
  return way;
}

describe('a role whose database connections go silent', () => {
  let service: SagaService;
  beforeEach(async () => {
    service = await startSagaService({ worker: false, relay: false });
    cleanUps.push(async () => await service.stop());
    await service.stock(5);
  });

  /** The role's own way to the database, and what runs on it. */
  async function startBehindProxy(
    role: 'api' | 'relay',
    start: (parts: Parts) => Promise<Running> | Running,
  ): Promise<Readonly<{ proxy: TcpProxy; parts: Parts }>> {
    const { proxy, url } = await proxyTo(service.environment['DATABASE_URL'] ?? '');
    const environment = { ...service.environment, DATABASE_URL: url, PORT: String(await findFreePort()) };
    const runsLoops = role === 'relay';
    const parts = createParts(readSettings(role, environment), { role, runsLoops, longestSilenceMilliseconds });
    const running = await start(parts);
    cleanUps.push(async () => {
      await running.stop();
      await parts.close();
    });
    return { proxy, parts };
  }

  it('delivers by itself again, where it is the relay', async () => {
    const { proxy } = await startBehindProxy('relay', startRelay);
    const delivered = async (orderId: string): Promise<void> => {
      await eventually(async () => {
        const rows = await service.parts.db
          .selectFrom('outbox')
          .select('state')
          .where('aggregate_id', '=', orderId)
          .execute();
        return rows.length > 0 && rows.every(({ state }) => state === 'done') ? true : undefined;
      });
    };
    await delivered(await service.submit());
    // Its loops poll all the time: each is silent in some statement, or before its next.
    proxy.freeze();
    await delivered(await service.submit());
  });

  it('answers 503 and is there again soon, where it is the API', async () => {
    const { proxy, parts } = await startBehindProxy('api', async (its) => await startApi(its, apiReadiness(its)));
    const client = createHttpClient(`http://127.0.0.1:${parts.settings.port}`);
    // Connections that stay in its pool: more than one, for the sampling of its figures may have one of them in hand.
    await Promise.all(Array.from({ length: 6 }, async () => await createOrder(client)));
    proxy.freeze();
    const answer = await client.post('/orders', orderInput({}));
    expect(answer.status).toBe(503);
    expect(answer.headers.get('Retry-After')).toBe('1');
    // Each connection that has gone silent may cost one request; the pool may hold another, of the figures' sampling.
    await eventually(async () => ((await client.post('/orders', orderInput({}))).status === 201 ? true : undefined));
  });
});

describe('a connection that goes silent', () => {
  let db: Db;
  let proxy: TcpProxy;
  let url: string;
  beforeEach(async () => {
    const database = await createTestDatabase();
    cleanUps.push(async () => await database.drop());
    ({ proxy, url } = await proxyTo(database.url));
    const onIdleError = (): void => undefined;
    db = connectDatabase({ url, poolSize: 1, applicationName: 'test', onIdleError, longestSilenceMilliseconds });
    cleanUps.push(async () => await db.destroy());
  });

  const pidOf = async (queryable: Db | Tx): Promise<number | undefined> =>
    (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(queryable)).rows[0]?.pid;

  /** On a busy machine a good connection may be silent for as long as a dead one. */
  const pidOfNext = async (): Promise<number> =>
    await eventually(
      async () =>
        await pidOf(db).catch((error: unknown) => {
          if (!isDatabaseUnavailable(error)) throw error;
          return undefined;
        }),
    );

  it('fails its statement as unavailable, and is never used again', async () => {
    const pid = await pidOfNext();
    proxy.freeze();
    await expect(pidOf(db)).rejects.toSatisfy(isDatabaseUnavailable);
    expect(await pidOfNext()).not.toBe(pid);
  });

  it('fails its transaction, whose rollback is not waited for', async () => {
    let pid: number | undefined;
    const work = db.transaction().execute(async (tx) => {
      pid = await pidOf(tx);
      proxy.freeze();
      await sql`select 1`.execute(tx);
    });
    await expect(work).rejects.toSatisfy(isDatabaseUnavailable);
    expect(await pidOfNext()).not.toBe(pid);
  });

  it('is given up on, unless it is that of a command, which may take as long as it takes', async () => {
    const long = sql`select pg_sleep(${(2 * longestSilenceMilliseconds) / 1000})`;
    await expect(long.execute(db)).rejects.toSatisfy(isDatabaseUnavailable);
    expect(await withDatabase(url, 'outbox', async (patient) => (await long.execute(patient)).rows)).toHaveLength(1);
  });
});
