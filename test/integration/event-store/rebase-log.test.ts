// A dump in a younger cluster: no role works on it, and one command mends it without changing what is read next.
import { sql } from 'kysely';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DomainEvent } from '../../../src/domain/event.ts';
import { rebaseLog, refuseForeignLog } from '../../../src/event-store/rebase-log.ts';
import { createSubscription, type SubscriptionRunner } from '../../../src/event-store/subscription.ts';
import { connectDatabase } from '../../../src/platform/database.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { counted, made, newThing, startEventLog, type EventLog } from '../../support/event-log.ts';
import { createRoleProcesses, runMain } from '../../support/role-process.ts';
import { eventually } from '../../support/saga-service.ts';
import { startDatabaseProxy } from '../../support/tcp-proxy.ts';

let log: EventLog;
beforeEach(async () => {
  log = await startEventLog();
});
afterEach(async () => await log.stop());

const idsOf = (events: readonly DomainEvent[]): readonly string[] => events.map((event) => event.eventId);

/** What a restore into a younger cluster looks like from there: every xid is from the future. */
async function restoreElsewhere(): Promise<void> {
  const later = (column: string) =>
    sql`${sql.ref(column)} = (${sql.ref(column)}::text::bigint + 1000000000000)::text::xid8`;
  await sql`alter table events disable trigger all`.execute(log.db);
  await sql`update events set ${later('ordering_xid')}`.execute(log.db);
  await sql`alter table events enable trigger all`.execute(log.db);
  await sql`update streams set ${later('last_xid')}`.execute(log.db);
  await sql`update subscriptions set ${later('xid')}, ${later('replay_until_xid')}`.execute(log.db);
}

/** Five events; the third has an earlier position than the second: its writer took its xid later and its position first. */
async function fill(): Promise<Readonly<{ events: readonly DomainEvent[]; streams: readonly string[] }>> {
  const [one, two] = [newThing(), newThing()];
  const [first, early, quick, fourth, fifth] = [
    made(one),
    counted(one, 2),
    made(two),
    counted(two, 2),
    counted(one, 3),
  ];
  await log.store.append(first);
  await log.unitOfWork(async (unit) => {
    await sql`select pg_current_xact_id()`.execute(unit.tx);
    await log.store.append(quick);
    await unit.append(early);
  });
  await log.store.append(fourth);
  await log.store.append(fifth);
  return { events: [first, early, quick, fourth, fifth], streams: [one, two] };
}

async function readAll(): Promise<readonly string[]> {
  return idsOf((await log.store.readLog({ limit: 1_000 })).events);
}

/** Reads on when its horizon lets it: other test files' transactions hold it for moments. */
const untilRead = async (count: number): Promise<readonly string[]> =>
  await eventually(async () => {
    const ids = await readAll();
    return ids.length >= count ? ids : undefined;
  });

function reader(seen: string[]): SubscriptionRunner {
  return createSubscription(log, {
    name: 'reader',
    startFrom: 'beginning',
    apply: async (event) => {
      seen.push(event.eventId);
      return await Promise.resolve();
    },
    reset: async () => await Promise.resolve(),
  });
}

async function moveCheckpoint(after: DomainEvent): Promise<void> {
  await sql`
    update subscriptions set xid = events.ordering_xid, position = events.position, replay_until_xid = null,
      replay_until_position = null
    from events where events.id = ${after.eventId}`.execute(log.db);
}

describe('a log whose ordering xids are ahead of the cluster', () => {
  it('is refused at boot by every role, in one line that names the remedy, and mended by it', async () => {
    const { events } = await fill();
    await restoreElsewhere();
    const environment = {
      DATABASE_URL: log.url,
      TEMPORAL_ADDRESS: '127.0.0.1:1',
      REDIS_URL: 'redis://127.0.0.1:1',
      PAYMENTS_WEBHOOK_SECRET: `whsec_${Buffer.alloc(32, 7).toString('base64')}`,
      LOG_LEVEL: 'silent',
    };

    const ends = await Promise.all(
      ['api', 'worker', 'relay', 'consumer', 'all'].map(async (role) => await runMain([role], environment)),
    );
    for (const { code, stdout, stderr } of ends) {
      expect(stdout).toBe('');
      expect(stderr).toMatch(
        /^The event log was restored from another [^\n]* "node src\/main\.ts rebase-log" once\.\n$/,
      );
      expect(code).toBe(1);
    }
    expect(await runMain(['rebase-log'], environment)).toEqual({ code: 0, stdout: 'Rebased 5 events.\n', stderr: '' });
    await refuseForeignLog(log.db);
    expect(await untilRead(5)).toEqual(idsOf(events));
    expect((await runMain(['rebase-log'], environment)).stdout).toMatch(/nothing to rebase/);
  });

  it('ends a role that could not look at its boot, because the database was away', async () => {
    await fill();
    await restoreElsewhere();
    const { proxy, url } = await startDatabaseProxy(log.url);
    proxy.cut();
    const roles = createRoleProcesses({ DATABASE_URL: url, TEMPORAL_ADDRESS: '127.0.0.1:1' });
    const relay = await roles.start('relay');
    proxy.mend();
    const { code } = await relay.ended;
    const said = relay.log();
    await roles.stop();
    await proxy.close();
    expect(said).toMatch(/"msg":"started"[^]*"level":60[^]*The event log was restored from another/);
    expect(code).toBe(1);
  });

  it('is no other log than before once it is rebased: the same order, and what comes next comes after', async () => {
    const { events, streams } = await fill();
    expect(await untilRead(5)).toEqual(idsOf(events));
    await restoreElsewhere();
    await expect(refuseForeignLog(log.db)).rejects.toThrow(StartupError);
    expect(await rebaseLog(log.db)).toBe(5);
    const next = [counted(streams[1] ?? '', 9), counted(streams[0] ?? '', 9), made(newThing())];
    for (const event of next) await log.store.append(event);
    expect(await untilRead(8)).toEqual([...idsOf(events), ...idsOf(next)]);
    const [stored] = (await log.store.getEvents(streams[0] ?? '')).slice(-1);
    expect(stored).toMatchObject({ eventId: next[1]?.eventId, version: 4 });
    const { rows } = await sql<{ same: boolean }>`
      select bool_and(outbox.position = events.position) as same from outbox join events using (id)`.execute(log.db);
    expect(rows).toEqual([{ same: true }]);
  });

  it('is rebased again after a second restore, behind nothing that was there', async () => {
    const { events } = await fill();
    await restoreElsewhere();
    await rebaseLog(log.db);
    const more = await fill();
    await sql`alter table events disable trigger all`.execute(log.db);
    await sql`update events set ordering_xid = (ordering_xid::text::bigint + 1000000000000)::text::xid8
      where ordering_xid <> '3'`.execute(log.db);
    await sql`alter table events enable trigger all`.execute(log.db);
    expect(await rebaseLog(log.db)).toBe(5);
    expect(await untilRead(10)).toEqual([...idsOf(events), ...idsOf(more.events)]);
  });

  it.each([0, 1, 2, 3, 4, 5])(
    'leaves a subscription that had read %i of five events where it was: no event twice, none left out',
    async (read) => {
      const { events } = await fill();
      await untilRead(5);
      await reader([]).runOnce();
      const last = events[read - 1];
      if (last !== undefined) await moveCheckpoint(last);
      else await sql`update subscriptions set xid = '0', position = 0`.execute(log.db);
      await restoreElsewhere();
      await rebaseLog(log.db);
      const seen: string[] = [];
      await eventually(async () => {
        await reader(seen).runOnce();
        return seen.length >= 5 - read ? true : undefined;
      });
      expect(seen).toEqual(idsOf(events.slice(read)));
    },
  );

  it('lets a rebuild that was under way end where it had to', async () => {
    const { events } = await fill();
    await untilRead(5);
    const third = events[2];
    if (third === undefined) throw new Error('there are five');
    const seen: string[] = [];
    await reader(seen).runOnce();
    await moveCheckpoint(third);
    await reader(seen).rebuild();
    await restoreElsewhere();
    await rebaseLog(log.db);
    const replayed: boolean[] = [];
    const runner = createSubscription(log, {
      name: 'reader',
      startFrom: 'beginning',
      apply: async (_, { replaying }) => {
        replayed.push(replaying);
        return await Promise.resolve();
      },
      reset: async () => await Promise.resolve(),
    });
    await eventually(async () => {
      await runner.runOnce();
      return replayed.length >= 5 ? true : undefined;
    });
    expect(replayed).toEqual([true, true, true, false, false]);
  });
});

describe('rebasing', () => {
  it('of a log that is empty, or the cluster’s own, does nothing', async () => {
    expect(await rebaseLog(log.db)).toBe(0);
    await refuseForeignLog(log.db);
    const { events } = await fill();
    const before = (await log.store.readLog({ limit: 10 })).events.map((event) => event.position);
    expect(await rebaseLog(log.db)).toBe(0);
    expect(before.length).toBeLessThanOrEqual(events.length);
    await refuseForeignLog(log.db);
  });

  it('is refused while another process of the service is connected, which it names', async () => {
    await fill();
    await restoreElsewhere();
    const onIdleError = (): void => {};
    const relay = connectDatabase({ url: log.url, poolSize: 2, applicationName: 'athyper-relay', onIdleError });
    await sql`select 1`.execute(relay);
    await expect(rebaseLog(log.db)).rejects.toThrow('in use by athyper-relay: stop all roles');
    await relay.destroy();
    await eventually(async () => ((await rebaseLog(log.db).catch(() => 0)) === 5 ? true : undefined));
  });

  it('is refused while somebody else holds the log, and changes nothing', async () => {
    const { events } = await fill();
    await restoreElsewhere();
    await log.db.transaction().execute(async (tx) => {
      await sql`select count(*) from events`.execute(tx);
      await expect(rebaseLog(log.db)).rejects.toThrow('The event log is in use: end what reads or writes it');
    });
    await expect(refuseForeignLog(log.db)).rejects.toThrow(StartupError);
    expect(await rebaseLog(log.db)).toBe(events.length);
  });
});

describe('the log, to whoever says that it is being rebased,', () => {
  it.each([
    ['a payload', sql`update events set ordering_xid = '3', payload = '{}'`],
    ['a version', sql`update events set ordering_xid = '3', version = version + 10`],
    ['a place among the new events', sql`update events set ordering_xid = '4'`],
    ['a deletion', sql`delete from events`],
    ['its emptying', sql`truncate events cascade`],
  ])('still refuses %s', async (_, statement) => {
    await log.store.append(made(newThing()));
    const change = log.db.transaction().execute(async (tx) => {
      await sql`select set_config('athyper.rebasing_log', 'on', true)`.execute(tx);
      await statement.execute(tx);
    });
    await expect(change).rejects.toThrow(/^events are append-only: /);
    expect(
      (await sql`select from events where ordering_xid > '4' and payload <> '{}'`.execute(log.db)).rows,
    ).toHaveLength(1);
  });

  it('refuses the move itself to everybody else', async () => {
    await log.store.append(made(newThing()));
    await expect(sql`update events set ordering_xid = '3'`.execute(log.db)).rejects.toThrow('UPDATE is refused');
  });
});
