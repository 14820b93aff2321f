// G8 under fire: many writers at once, half of them with an early transaction id, late commits, roll-backs, several
// streams in one transaction, and a reader that follows by cursor. The same load without the clamp breaks streams, and
// with a cursor of the position alone loses events: so the test can tell.
import { setTimeout as sleep } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DomainEvent } from '../../../src/domain/event.ts';
import type { UnitOfWork } from '../../../src/event-store/unit-of-work.ts';
import { counted, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';

const writers = 24;
const streamCount = 40;

let log: EventLog;
beforeAll(async () => {
  log = await startEventLog({ poolSize: writers + 4 });
});
afterAll(async () => await log.stop());

type Seen = Readonly<{ id: string; stream: string; version: number }>;
type Load = Readonly<{
  events: number;
  seconds: number;
  write: (unit: UnitOfWork, events: readonly DomainEvent[]) => Promise<void>;
}>;
type Figures = Readonly<{
  committed: number;
  rolledBack: number;
  lost: number;
  doubled: number;
  /** An event that the reader saw after a later one of its stream. */
  brokenOrders: number;
  /** Of the naive reader beside it, whose cursor is the position. */
  lostByPosition: number;
  seconds: string;
}>;

const pick = <T>(from: readonly T[]): T => from[Math.floor(Math.random() * from.length)] ?? from[0] ?? failed();
const failed = (): never => {
  throw new Error('nothing to pick from');
};

/** Writes until `events` are committed or the time is up, with readers that follow; then lets them come to the end. */
async function fire({ events: wanted, seconds, write }: Load): Promise<Figures> {
  const streams = Array.from({ length: streamCount }, newThing);
  const start = performance.now();
  const committed = new Set<string>();
  let rolledBack = 0;
  let writing = true;
  const isOver = (): boolean => committed.size >= wanted || performance.now() - start > seconds * 1000;

  const oneWriter = async (_: unknown, writer: number): Promise<void> => {
    while (!isOver()) {
      // One to three streams of one to three events each.
      const ids = new Set(Array.from({ length: 1 + Math.floor(Math.random() * 3) }, () => pick(streams)));
      const events = [...ids].flatMap((id) =>
        Array.from({ length: 1 + Math.floor(Math.random() * 3) }, (_none, n) => counted(id, n)),
      );
      const work = log.unitOfWork(async (unit) => {
        if (writer % 2 === 0) {
          // Any write takes the transaction id; here long before the append.
          await sql`insert into inbox (handler_name, event_id) values ('early', ${events[0]?.eventId ?? ''})`.execute(
            unit.tx,
          );
          await sleep(Math.random() * 8);
        }
        await write(unit, events);
        if (Math.random() < 0.3) await sleep(Math.random() * 8);
        if (Math.random() < 0.1) throw new Error('rolled back');
      });
      const isCommitted = await work.then(
        () => true,
        (error: unknown) => {
          if (error instanceof Error && error.message === 'rolled back') return false;
          throw error;
        },
      );
      if (isCommitted) for (const event of events) committed.add(event.eventId);
      else rolledBack += events.length;
    }
  };

  /** Follows until nothing is new after the writers have ended. */
  const follow = async (next: () => Promise<readonly Seen[]>): Promise<readonly Seen[]> => {
    const seen: Seen[] = [];
    for (;;) {
      // Asked before the page is read: what it then does not show is nowhere.
      const mayEnd = !writing && (await isQuiet());
      const page = await next();
      seen.push(...page);
      if (page.length > 0) continue;
      if (mayEnd) return seen;
      await sleep(2);
    }
  };

  const safe = follow(readBySafeOrder(await endOfLog()));
  const naive = follow(readByPosition(await endOfLog()));
  await Promise.all(Array.from({ length: writers }, oneWriter)).finally(() => {
    writing = false;
  });
  const took = (performance.now() - start) / 1000;
  const [seen, seenByPosition] = [await safe, await naive];
  const ids = new Set(seen.map((event) => event.id));
  const idsByPosition = new Set(seenByPosition.map((event) => event.id));
  return {
    committed: committed.size,
    rolledBack,
    lost: [...committed].filter((id) => !ids.has(id)).length,
    doubled: seen.length - ids.size,
    brokenOrders: countBroken(seen),
    lostByPosition: [...committed].filter((id) => !idsByPosition.has(id)).length,
    seconds: took.toFixed(1),
  };
}

function countBroken(seen: readonly Seen[]): number {
  const reached = new Map<string, number>();
  let broken = 0;
  for (const { stream, version } of seen) {
    const before = reached.get(stream) ?? 0;
    if (version < before) broken += 1;
    reached.set(stream, Math.max(version, before));
  }
  return broken;
}

type End = Readonly<{ xid: string; position: string }>;
async function endOfLog(): Promise<End> {
  const { rows } = await sql<End>`
    select coalesce(max(ordering_xid::text::numeric), 0)::text as xid, coalesce(max(position), 0)::text as position
    from events`.execute(log.db);
  return rows[0] ?? { xid: '0', position: '0' };
}

/** Everything that is committed is below the readers' horizon: other test files' transactions hold it for moments. */
async function isQuiet(): Promise<boolean> {
  const { rows } = await sql<{ quiet: boolean }>`
    select not exists (select from events where ordering_xid >= pg_snapshot_xmin(pg_current_snapshot())) as quiet`.execute(
    log.db,
  );
  return rows[0]?.quiet ?? false;
}

function readBySafeOrder({ xid }: End): () => Promise<readonly Seen[]> {
  let after = { xid, position: '9223372036854775807' };
  return async () => {
    const page = await log.store.readLog({ after, limit: 200 });
    after = page.end;
    return page.events.map((event) => ({ id: event.eventId, stream: event.aggregateId, version: event.version }));
  };
}

/** As one would write it first: what is committed, after the last position. */
function readByPosition(end: End): () => Promise<readonly Seen[]> {
  let { position } = end;
  return async () => {
    const { rows } = await sql<Seen & { position: string }>`
      select id, aggregate_id as stream, version, events.position::text as position from events
      where events.position > ${position}::bigint order by events.position limit 200`.execute(log.db);
    position = rows.at(-1)?.position ?? position;
    return rows;
  };
}

const byStream = (events: readonly DomainEvent[]): readonly (readonly DomainEvent[])[] => [
  ...Map.groupBy(events, (event) => event.aggregateId).values(),
];

/** As the store writes them. */
const withTheClamp: Load['write'] = async (unit, events) => {
  const [first, ...more] = byStream(events);
  if (more.length > 0) await unit.appendAll(byStream(events).map((each) => ({ events: each })));
  else await unit.append(first ?? []);
};

/** The same, only that each event is stored under its own transaction's id. */
const withoutTheClamp: Load['write'] = async (unit, events) => {
  for (const each of byStream(events).toSorted(([a], [b]) =>
    (a?.aggregateId ?? '') < (b?.aggregateId ?? '') ? -1 : 1,
  )) {
    await sql`
      with given as (
        select * from unnest(${each.map((event) => event.eventId)}::uuid[]) with ordinality as given (id, n)
      ),
      stream as (
        insert into streams (aggregate_id, aggregate_type, tenant_id, version, last_xid)
        values (${each[0]?.aggregateId}, 'thing', 'default', ${each.length}, pg_current_xact_id())
        on conflict (aggregate_id) do update set version = streams.version + excluded.version
        returning version
      )
      insert into events (id, event_type, aggregate_id, aggregate_type, version, payload, metadata, schema_version,
                          tenant_id, occurred_at, ordering_xid)
      select given.id, 'thing.counted', ${each[0]?.aggregateId}, 'thing',
             stream.version - ${each.length}::int + given.n::int, '{"n":1}', '{"tenantId":"default"}', 2, 'default',
             now(), pg_current_xact_id()
      from given, stream order by given.n`.execute(unit.tx);
  }
};

const print = (title: string, figures: Figures): void =>
  void process.stderr.write(`${title}: ${JSON.stringify(figures)}\n`);

describe('24 writers at once, half of them with an early id, with late commits and roll-backs', () => {
  it('lose no event on the reader of the log, double none, and break the order of no stream', async () => {
    const { rows } = await sql<{ version: number }>`
      select current_setting('server_version_num')::int / 10000 as version`.execute(log.db);
    expect(rows[0]?.version).toBe(18);
    const figures = await fire({ events: 10_000, seconds: 25, write: withTheClamp });
    print('with the clamp', figures);
    expect(figures.committed).toBeGreaterThan(2_000);
    expect(figures.rolledBack).toBeGreaterThan(0);
    expect(figures).toMatchObject({ lost: 0, doubled: 0, brokenOrders: 0 });
    // The load is one that a cursor of the position alone does not survive.
    expect(figures.lostByPosition).toBeGreaterThan(0);
  });

  it('break streams where each event has its own transaction id, so the load tells', async () => {
    const figures = await fire({ events: 3_000, seconds: 15, write: withoutTheClamp });
    print('without the clamp', figures);
    expect(figures.brokenOrders).toBeGreaterThan(0);
  });
});
