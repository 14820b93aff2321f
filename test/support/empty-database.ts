// A database for one test in which not even a migration has run.
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { services } from './services.ts';

export type EmptyDatabase = Readonly<{
  url: string;
  query<T extends pg.QueryResultRow>(text: string): Promise<readonly T[]>;
  drop(): Promise<void>;
}>;

export async function createEmptyDatabase(): Promise<EmptyDatabase> {
  const { postgresAdminUrl } = services();
  const name = `empty_${randomBytes(6).toString('hex')}`;
  await query(postgresAdminUrl, `create database ${name}`);
  const url = new URL(postgresAdminUrl);
  url.pathname = `/${name}`;
  return {
    url: url.href,
    query: async (text) => await query(url.href, text),
    drop: async () => void (await query(postgresAdminUrl, `drop database ${name} with (force)`)),
  };
}

async function query<T extends pg.QueryResultRow>(url: string, text: string): Promise<readonly T[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
}
