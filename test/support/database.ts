// A database for one test file: a clone of the migrated template.
import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { services } from './services.ts';

export const templateDatabase = 'athyper_template';

export type TestDatabase = Readonly<{
  url: string;
  /** Removes it. Throws if somebody is still connected: the test has leaked a connection. */
  drop(): Promise<void>;
}>;

export async function createTestDatabase(): Promise<TestDatabase> {
  const { postgresAdminUrl } = services();
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asAdmin(postgresAdminUrl, async (admin) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        await admin.query(`CREATE DATABASE ${name} TEMPLATE ${templateDatabase}`);
        return;
      } catch (error) {
        const isBusy = error instanceof pg.DatabaseError && error.code === '55006';
        if (!isBusy || attempt === 50) throw error;
        await delay(100);
      }
    }
  });
  const url = new URL(postgresAdminUrl);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => asAdmin(postgresAdminUrl, (admin) => dropDatabase(admin, name)) };
}

async function dropDatabase(admin: pg.Client, name: string): Promise<void> {
  const leaked = await connectionsThatStay(admin, name);
  await admin.query(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
  if (leaked.length > 0)
    throw new Error(
      `The test has leaked ${leaked.length} connection(s) to its database; they said last: ${leaked.join(' | ')}`,
    );
}

/** The server notices the end of a connection a moment later than the client. */
async function connectionsThatStay(admin: pg.Client, name: string): Promise<readonly string[]> {
  for (let attempt = 1; ; attempt += 1) {
    const { rows } = await admin.query<{ query: string }>(
      "SELECT query FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'",
      [name],
    );
    if (rows.length === 0 || attempt === 40) return rows.map((row) => row.query);
    await delay(50);
  }
}

async function asAdmin(url: string, use: (admin: pg.Client) => Promise<void>): Promise<void> {
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  try {
    await use(admin);
  } finally {
    await admin.end();
  }
}
