// The migrations: forward, back, forward again, several at once, and under code of the release before.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { migrateDown, migrateToLatest, migrateUp } from '../../../src/platform/migrate.ts';
import { createEmptyDatabase, type EmptyDatabase } from '../../support/empty-database.ts';

let database: EmptyDatabase;
let url: string;
const query: EmptyDatabase['query'] = async (text) => await database.query(text);
beforeEach(async () => {
  database = await createEmptyDatabase();
  url = database.url;
});
afterEach(async () => await database.drop());

/** Tables, columns, constraints, indexes, triggers and functions: whatever a migration makes. */
const shape = async (): Promise<readonly unknown[]> =>
  await query(
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

/** `demanded`: an insert that does not name it fails. */
type Column = Readonly<{ table: string; column: string; type: string; demanded: boolean }>;
const nameOf = ({ table, column }: Column): string => `${table}.${column}`;
/** "migration table.column", where the release before that migration used the column no more. */
const mayGo: ReadonlySet<string> = new Set();

const columns = async (): Promise<readonly Column[]> =>
  await query<Column>(`
    select table_name as table, column_name as column, data_type as type,
           is_nullable = 'NO' and column_default is null and is_identity = 'NO' and is_generated = 'NEVER' as demanded
    from information_schema.columns
    where table_schema = 'public' and table_name not like 'kysely%' order by 1, 2`);

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

  it('over three connections at once runs each migration once', async () => {
    const runs = await Promise.all([migrateToLatest(url), migrateToLatest(url), migrateToLatest(url)]);
    expect(runs.flat().length).toBe(new Set(runs.flat()).size);
    expect(runs.toSorted((a, b) => b.length - a.length)[0]?.length).toBeGreaterThanOrEqual(4);
  });

  it('has the columns and indexes that the design promises to others', async () => {
    await migrateToLatest(url);
    const columns = await query<{ table_name: string; column_name: string }>(
      `select table_name, column_name from information_schema.columns where table_schema = 'public'`,
    );
    const of = (table: string): readonly string[] =>
      columns.filter((column) => column.table_name === table).map((column) => column.column_name);
    const shared = ['id', 'event_type', 'aggregate_id', 'aggregate_type', 'payload', 'occurred_at', 'created_at'];
    expect(of('events')).toEqual(expect.arrayContaining([...shared, 'metadata', 'position', 'version', 'tenant_id']));
    expect(of('outbox')).toEqual(expect.arrayContaining([...shared, 'published', 'published_at', 'destination']));
    const indexes = (await query<{ indexdef: string }>('select indexdef from pg_indexes')).map((row) => row.indexdef);
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

  it('takes nothing away that code of the release before may use, and asks nothing new of it', async () => {
    let before: readonly Column[] = [];
    for (;;) {
      const [migration] = await migrateUp(url);
      if (migration === undefined) break;
      const now = await columns();
      const tables = new Set(before.map(({ table }) => table));
      const known = new Map(before.map((column) => [nameOf(column), column]));
      const found = new Map(now.map((column) => [nameOf(column), column]));
      const gone = [...known.keys()].filter((name) => !found.has(name) && !mayGo.has(`${migration} ${name}`));
      expect(gone, `${migration} removes`).toEqual([]);
      const changed = [...known].filter(([name, { type }]) => found.has(name) && found.get(name)?.type !== type);
      expect(changed, `${migration} changes the type of`).toEqual([]);
      const demanded = now.filter(
        (column) => column.demanded && tables.has(column.table) && known.get(nameOf(column))?.demanded !== true,
      );
      expect(demanded, `${migration} makes an old insert fail without`).toEqual([]);
      before = now;
    }
  });
});
