// What a claim, and a look at the figures, cost, in index look-ups and pages, beside a million delivered rows and behind heads with long tails.
import { sql, type RawBuilder } from 'kysely';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { figuresStatement } from '../../../src/outbox/outbox-figures.ts';
import { claimStatement, completeDeliveries, claimDeliveries } from '../../../src/outbox/outbox-rows.ts';
import { mendLanes } from '../../../src/outbox/lanes.ts';
import type { Tx } from '../../../src/platform/database.ts';
import { fillOutbox } from '../../support/backlog.ts';
import { startEventLog, type EventLog } from '../../support/event-log.ts';

const claim = { destination: 'left', owner: 'first', limit: 10, leaseSeconds: 60, blockedByDead: true };
let log: EventLog;

const fill = async (name: string, aggregates: number, each: number, state: 'done' | 'pending'): Promise<void> =>
  await fillOutbox(log.db, { name, aggregates, each, state });

type Node = Readonly<{
  'Node Type': string;
  'Relation Name'?: string;
  'Actual Rows': number;
  'Shared Hit Blocks': number;
  'Shared Read Blocks': number;
  Plans?: readonly Node[];
}>;
const nodesOf = (node: Node): readonly Node[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];

/** Runs a statement, a claim where nothing is said, and takes it back. */
async function cost(
  statement: RawBuilder<unknown> = claimStatement(claim),
): Promise<Readonly<{ scanned: readonly string[]; pages: number; milliseconds: number }>> {
  const explained = await log.db
    .transaction()
    .execute(async (tx) => {
      const { rows } = await sql<{ 'QUERY PLAN': readonly [{ Plan: Node; 'Execution Time': number }] }>`
        explain (analyze, buffers, format json) ${statement}`.execute(tx);
      throw new TakenBack(rows[0]?.['QUERY PLAN'][0]);
    })
    .catch((error: unknown) => {
      if (error instanceof TakenBack && error.plan !== undefined) return error.plan;
      throw error;
    });
  const scanned = nodesOf(explained.Plan)
    .filter((node) => node['Node Type'] === 'Seq Scan')
    .map((node) => node['Relation Name'] ?? '');
  return {
    // Destinations are a handful of rows.
    scanned: scanned.filter((relation) => relation !== 'outbox_destinations'),
    pages: explained.Plan['Shared Hit Blocks'] + explained.Plan['Shared Read Blocks'],
    milliseconds: explained['Execution Time'],
  };
}

class TakenBack extends Error {
  readonly plan: Readonly<{ Plan: Node; 'Execution Time': number }> | undefined;
  constructor(plan: Readonly<{ Plan: Node; 'Execution Time': number }> | undefined) {
    super('taken back');
    this.plan = plan;
  }
}

async function expectCheap(most: number, statement?: RawBuilder<unknown>): Promise<void> {
  // Before anybody has gathered statistics, and after.
  for (const statistics of [false, true]) {
    if (statistics) await sql`analyze outbox, outbox_lanes`.execute(log.db);
    const { scanned, pages, milliseconds } = await cost(statement);
    console.log(`${expect.getState().currentTestName}: ${pages} pages, ${milliseconds.toFixed(2)} ms`);
    expect(scanned).toEqual([]);
    expect(pages).toBeLessThan(most);
  }
}

/** By the server's own count, which no load on the machine changes. */
async function rowsRead(work: (tx: Tx) => Promise<void>): Promise<number> {
  return await log.db.transaction().execute(async (tx) => {
    const sofar = async (): Promise<number> => {
      const { rows } = await sql<{ read: number }>`
        select sum(seq_tup_read + idx_tup_fetch)::int as read from pg_stat_xact_user_tables
        where relname in ('outbox', 'outbox_lanes')`.execute(tx);
      return rows[0]?.read ?? Number.NaN;
    };
    const before = await sofar();
    await work(tx);
    const read = (await sofar()) - before;
    console.log(`${expect.getState().currentTestName}: ${read} rows`);
    return read;
  });
}

beforeAll(async () => {
  log = await startEventLog();
  await sql`alter table outbox set (autovacuum_enabled = off)`.execute(log.db);
  const before = performance.now();
  await fill('published', 100_000, 10, 'done');
  console.log(`1,000,000 published rows written in ${((performance.now() - before) / 1000).toFixed(1)} s`);
});
afterAll(async () => await log.stop());

it('a claim looks up ten waiting deliveries beside a million that are published', async () => {
  await fill('waiting', 10, 1, 'pending');
  await expectCheap(600);
  const rows = await claimDeliveries(log.db, claim);
  expect(rows).toHaveLength(10);
  const ids = rows.map((row) => row.id);
  expect(await completeDeliveries(log.db, claim, ids)).toBe(10);
});

it('the figures for the metrics are counted from what is not published, beside a million rows that are', async () => {
  await fill('counted', 10, 5, 'pending');
  await expectCheap(200, figuresStatement(['left', 'right']));
  await sql`delete from outbox where aggregate_id like 'counted-%'`.execute(log.db);
});

it('a claim passes by a dead head with 100,000 deliveries blocked behind it', async () => {
  await fill('blocked', 1, 100_000, 'pending');
  await sql`update outbox set state = 'dead' where aggregate_id = 'blocked-1' and version = 1`.execute(log.db);
  expect(await claimDeliveries(log.db, claim)).toEqual([]);
  await expectCheap(30);
  await fill('beside-blocked', 1, 1, 'pending');
  await expectCheap(150);
  expect(await claimDeliveries(log.db, claim)).toMatchObject([{ aggregate_id: 'beside-blocked-1' }]);
});

it('a claim passes by a head that backs off, and one that is leased, with 50,000 deliveries behind each', async () => {
  await fill('later', 2, 50_000, 'pending');
  await sql`update outbox set next_attempt_at = now() + interval '5 minutes'
    where aggregate_id = 'later-1' and version = 1`.execute(log.db);
  expect(await claimDeliveries(log.db, claim)).toMatchObject([{ aggregate_id: 'later-2', version: 1 }]);
  await expectCheap(30);
  await fill('beside-later', 1, 1, 'pending');
  await expectCheap(150);
});

it('a completion asks for what is left in its lane, not for all of it', async () => {
  await fill('long', 1, 50_000, 'pending');
  const rows = await claimDeliveries(log.db, { ...claim, owner: 'completes' });
  expect(rows).toContainEqual(expect.objectContaining({ aggregate_id: 'long-1', version: 1 }));
  const ids = rows.map((row) => row.id);
  const read = await rowsRead(async (tx) => {
    expect(await completeDeliveries(tx, { ...claim, owner: 'completes' }, ids)).toBe(ids.length);
  });
  expect(read).toBeLessThan(500);
  expect(await claimDeliveries(log.db, claim)).toMatchObject([{ aggregate_id: 'long-1', version: 2 }]);
});

it('the walk over the lanes asks once for each aggregate with something undone', async () => {
  const read = await rowsRead(async (tx) => {
    expect((await mendLanes(tx, { ...claim, after: '', limit: 1_000 })).mended).toBe(0);
  });
  expect(read).toBeLessThan(500);
});
