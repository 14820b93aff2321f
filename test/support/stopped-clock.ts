// A database whose now() stands still and is moved by the test, so that leases and back-offs end when the test says so.
import { sql } from 'kysely';
import pg from 'pg';
import type { Db } from '../../src/platform/database.ts';

/**
 * Before the code under test connects: later connections find this now() before PostgreSQL's own. Columns' defaults still
 * take the real one, so the clock stands a day ahead: what was just written is due.
 */
export async function stopClock(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(`
      create schema clock;
      create table clock.stopped as select pg_catalog.now() + interval '1 day' as at;
      create function clock.now() returns timestamptz language sql stable as 'select at from clock.stopped'`);
    const name = client.escapeIdentifier(client.database ?? '');
    await client.query(`alter database ${name} set search_path = clock, pg_catalog, public`);
  } finally {
    await client.end();
  }
}

export async function moveClock(db: Db, by: string): Promise<void> {
  await sql`update clock.stopped set at = at + ${by}::interval`.execute(db);
}
