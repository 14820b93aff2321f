// The migrations: forward, back, forward again, and two processes at once.
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { migrateDown, migrateToLatest } from '../../../src/platform/migrate.ts';
import { services } from '../../support/services.ts';

let url: string;
let name: string;

async function query<T extends pg.QueryResultRow>(at: string, text: string): Promise<readonly T[]> {
  const client = new pg.Client({ connectionString: at });
  await client.connect();
  try {
    return (await client.query<T>(text)).rows;
  } finally {
    await client.end();
  }
}

beforeEach(async () => {
  name = `empty_${Math.random().toString(36).slice(2)}`;
  await query(services().postgresAdminUrl, `create database ${name}`);
  const own = new URL(services().postgresAdminUrl);
  own.pathname = `/${name}`;
  url = own.href;
});
afterEach(async () => void (await query(services().postgresAdminUrl, `drop database ${name} with (force)`)));

/** Tables, columns, constraints, indexes, triggers and functions: whatever a migration makes. */
const shape = async (): Promise<readonly unknown[]> =>
  await query(
    url,
    `select 'column' as kind, table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable
              || coalesce(' ' || column_default, '') as what
       from information_schema.columns where table_schema = 'public' and table_name not like 'kysely%'
     union all select 'constraint', conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
       from pg_constraint where connamespace = 'public'::regnamespace and conrelid::regclass::text not like 'kysely%'
     union all select 'index', indexdef from pg_indexes where schemaname = 'public' and tablename not like 'kysely%'
     union all select 'trigger', pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
     union all select 'function', proname from pg_proc where pronamespace = 'public'::regnamespace
     order by 1, 2`,
  );

describe('migrating', () => {
  it('forward, all the way back, and forward again ends where it was, and leaves nothing in between', async () => {
    const run = await migrateToLatest(url);
    expect(run.length).toBeGreaterThanOrEqual(4);
    const first = await shape();
    expect(first.length).toBeGreaterThan(50);
    for (const migration of run.toReversed()) expect(await migrateDown(url)).toEqual([migration]);
    expect(await shape()).toEqual([]);
    expect(await migrateToLatest(url)).toEqual(run);
    expect(await shape()).toEqual(first);
  });

  it('what is at its newest does nothing', async () => {
    await migrateToLatest(url);
    expect(await migrateToLatest(url)).toEqual([]);
  });

  it('in three processes at once runs each migration once', async () => {
    const runs = await Promise.all([migrateToLatest(url), migrateToLatest(url), migrateToLatest(url)]);
    expect(runs.flat().length).toBe(new Set(runs.flat()).size);
    expect(runs.toSorted((a, b) => b.length - a.length)[0]?.length).toBeGreaterThanOrEqual(4);
  });

  it('has the columns and indexes that the design promises to others', async () => {
    await migrateToLatest(url);
    const columns = await query<{ table_name: string; column_name: string }>(
      url,
      `select table_name, column_name from information_schema.columns where table_schema = 'public'`,
    );
    const of = (table: string): readonly string[] =>
      columns.filter((column) => column.table_name === table).map((column) => column.column_name);
    const shared = ['id', 'event_type', 'aggregate_id', 'aggregate_type', 'payload', 'occurred_at', 'created_at'];
    expect(of('events')).toEqual(expect.arrayContaining([...shared, 'metadata', 'position', 'version', 'tenant_id']));
    expect(of('outbox')).toEqual(expect.arrayContaining([...shared, 'published', 'published_at', 'destination']));
    const indexes = (await query<{ indexdef: string }>(url, 'select indexdef from pg_indexes')).map(
      (row) => row.indexdef,
    );
    for (const wanted of [
      /on public\.events .*\(aggregate_id, occurred_at\)/i,
      /on public\.events .*\(event_type, occurred_at\)/i,
      /on public\.events .*\(occurred_at\)/i,
      /unique .*on public\.events .*\(aggregate_id, version\)/i,
      /on public\.outbox .*where \(not published\)/i,
    ]) {
      expect(indexes.some((definition) => wanted.test(definition))).toBe(true);
    }
  });
});
