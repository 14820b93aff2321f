// The connections to PostgreSQL: what a lost one breaks, what bigint becomes, and what the database's errors mean.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  connectDatabase,
  isDatabaseUnavailable,
  isRetryableTransaction,
  isUniqueViolation,
  type Db,
  type Tx,
} from '../../../src/platform/database.ts';
import { createTestDatabase, type TestDatabase } from '../../support/database.ts';
import { eventually } from '../../support/saga-service.ts';

let database: TestDatabase;
let db: Db;
let idleErrors: Error[] = [];
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(async () => await database.drop());
beforeEach(() => {
  idleErrors = [];
  db = connectDatabase({
    url: database.url,
    poolSize: 3,
    applicationName: 'test-database',
    onIdleError: (error) => idleErrors.push(error),
  });
});
afterEach(async () => await db.destroy());

const thrownBy = async (work: Promise<unknown>): Promise<unknown> =>
  await work.then(
    () => undefined,
    (error: unknown) => error,
  );

async function pidOf(queryable: Db | Tx): Promise<number> {
  const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(queryable);
  return rows[0]?.pid ?? 0;
}

/** Ends the connection, and waits until the server knows nothing of it any more. */
async function terminate(pid: number): Promise<void> {
  await sql`select pg_terminate_backend(${pid})`.execute(db);
  await eventually(async () => {
    const { rows } = await sql`select from pg_stat_activity where pid = ${pid}`.execute(db);
    return rows.length === 0 ? true : undefined;
  });
}

describe('a connection that the server ends', () => {
  it('between two statements of a transaction fails that transaction, and not the process', async () => {
    const work = db.transaction().execute(async (tx) => {
      await terminate(await pidOf(tx));
      await sql`select 1`.execute(tx);
    });
    const error = await thrownBy(work);
    expect(isDatabaseUnavailable(error)).toBe(true);
    expect((await sql`select 1 as one`.execute(db)).rows).toEqual([{ one: 1 }]);
  });

  it('in the middle of a statement fails that statement as unavailable', async () => {
    const asleep = thrownBy(sql`select pg_sleep(30) /* in the middle */`.execute(db));
    const pid = await eventually(async () => {
      const { rows } = await sql<{ pid: number }>`
        select pid from pg_stat_activity where query like '%pg_sleep(30)%' and pid <> pg_backend_pid()
          and datname = current_database()`.execute(db);
      return rows[0]?.pid;
    });
    await terminate(pid);
    expect(isDatabaseUnavailable(await asleep)).toBe(true);
  });

  it('while it is idle is reported, and replaced', async () => {
    const pids = await Promise.all(
      Array.from({ length: 2 }, async () => await db.transaction().execute(async (tx) => await pidOf(tx))),
    );
    const own = await pidOf(db);
    const idle = pids.find((pid) => pid !== own) ?? 0;
    await sql`select pg_terminate_backend(${idle})`.execute(db);
    await eventually(async () => await Promise.resolve(idleErrors.length > 0 ? true : undefined));
    expect((await sql`select 1 as one`.execute(db)).rows).toEqual([{ one: 1 }]);
  });
});

describe('a transaction', () => {
  it('is ended by the server when it lasts too long, so that it hides no events for ever', async () => {
    const { rows } = await sql`
      select current_setting('transaction_timeout') as whole,
             current_setting('idle_in_transaction_session_timeout') as idle`.execute(db);
    expect(rows).toEqual([{ whole: '1min', idle: '15s' }]);
  });

  it('takes no more statements once it has ended, from a callback that came late', async () => {
    let kept: Tx | undefined;
    await db.transaction().execute(async (tx) => {
      kept = tx;
      await sql`select 1`.execute(tx);
    });
    if (kept === undefined) throw new Error('no transaction');
    await expect(sql`select 1`.execute(kept)).rejects.toThrow(/already committed/);
  });
});

describe('a bigint', () => {
  it('is a number, and one past 2^53 is refused rather than rounded', async () => {
    expect((await sql`select 9007199254740991::bigint as n`.execute(db)).rows).toEqual([{ n: 9007199254740991 }]);
    await expect(sql`select 9007199254740992::bigint as n`.execute(db)).rejects.toThrow(/select it as text/);
  });
});

describe('an error', () => {
  it('of a server that is not there means unavailable', async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    server.close();
    await once(server, 'close');
    const away = connectDatabase({
      url: `postgres://nobody@127.0.0.1:${port}/none`,
      poolSize: 2,
      applicationName: 'test',
      onIdleError: () => undefined,
    });
    expect(isDatabaseUnavailable(await thrownBy(sql`select 1`.execute(away)))).toBe(true);
    await away.destroy();
  });

  it('of a statement does not', async () => {
    const error = await thrownBy(sql`select nonsense`.execute(db));
    expect(error).toBeInstanceOf(Error);
    expect(isDatabaseUnavailable(error)).toBe(false);
    expect(isRetryableTransaction(error)).toBe(false);
    expect(isUniqueViolation(error)).toBe(false);
  });

  it('of a key that is taken names its constraint', async () => {
    const insert = async (): Promise<unknown> =>
      await sql`insert into relay_heartbeats values ('d', 'r', now())`.execute(db);
    await insert();
    const error = await thrownBy(insert());
    expect(isUniqueViolation(error)).toBe(true);
    expect(isUniqueViolation(error, 'relay_heartbeats_pkey')).toBe(true);
    expect(isUniqueViolation(error, 'events_pkey')).toBe(false);
  });

  it('of serialization may be tried again', async () => {
    await sql`insert into relay_heartbeats values ('race', 'r', now())`.execute(db);
    const error = await thrownBy(
      db
        .transaction()
        .setIsolationLevel('repeatable read')
        .execute(async (tx) => {
          await sql`select 1 from relay_heartbeats`.execute(tx);
          await sql`update relay_heartbeats set relay = 'faster' where destination = 'race'`.execute(db);
          await sql`update relay_heartbeats set relay = 'slower' where destination = 'race'`.execute(tx);
        }),
    );
    expect(isRetryableTransaction(error)).toBe(true);
  });
});
