// What is deleted of the outbox and the inbox, and what stays however old it is.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sql } from 'kysely';
import { newId } from '../../../src/domain/ids.ts';
import { deleteDoneDeliveries, deleteOldInboxRows } from '../../../src/outbox/clean-up.ts';
import { retryDeadLetters } from '../../../src/outbox/outbox-admin.ts';
import { startSagaService, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ worker: false, relay: false });
});
afterAll(async () => await service.stop());
beforeEach(async () => {
  await sql`delete from outbox`.execute(service.parts.db);
  await sql`delete from inbox`.execute(service.parts.db);
  await sql`delete from delivery_epochs`.execute(service.parts.db);
});

/** A store behind the bus that has acknowledged what was published before. */
async function settledUntil(hoursAgo: number): Promise<void> {
  await sql`
    insert into delivery_epochs (destination, store, epoch, safe_until)
    values ('bus', 'test', ${newId()}, now() - make_interval(hours => ${hoursAgo}))`.execute(service.parts.db);
}

type Given = Readonly<{ state: 'done' | 'dead' | 'pending'; hours: number; aggregateId?: string; version?: number }>;

async function delivery({ state, hours, aggregateId, version = 1 }: Given): Promise<string> {
  const id = newId();
  await sql`
    insert into outbox (id, destination, event_type, aggregate_id, aggregate_type, version, payload, metadata,
                        schema_version, occurred_at, position, state, published_at)
    values (${id}, 'bus', 'order.created', ${aggregateId ?? id}, 'order', ${version}, '{}', '{"tenantId": "default"}', 1, now(), 1, ${state},
            case when ${state} = 'done' then now() - make_interval(hours => ${hours}) end)`.execute(service.parts.db);
  return id;
}

async function handled(eventId: string, days: number): Promise<void> {
  await sql`
    insert into inbox (handler_name, event_id, processed_at)
    values ('test', ${eventId}, now() - make_interval(days => ${days}))`.execute(service.parts.db);
}

const outboxIds = async () =>
  (await service.parts.db.selectFrom('outbox').select('id').execute()).map(({ id }) => id).toSorted();
const inboxIds = async () =>
  (await service.parts.db.selectFrom('inbox').select('event_id').execute()).map((row) => row.event_id).toSorted();

describe('the clean-up of the outbox', () => {
  it('deletes what was done three days ago, and nothing that is newer, waits, or is dead', async () => {
    await delivery({ state: 'done', hours: 73 });
    const kept = [
      await delivery({ state: 'done', hours: 71 }),
      await delivery({ state: 'dead', hours: 1000 }),
      await delivery({ state: 'pending', hours: 1000 }),
    ];
    expect(await deleteDoneDeliveries(service.parts.db)).toBe(1);
    expect(await outboxIds()).toEqual(kept.toSorted());
  });

  it('keeps what Redis has not acknowledged, however old it is: it may have to be delivered again', async () => {
    await settledUntil(100);
    await delivery({ state: 'done', hours: 101 });
    const kept = await delivery({ state: 'done', hours: 99 });
    expect(await deleteDoneDeliveries(service.parts.db)).toBe(1);
    expect(await outboxIds()).toEqual([kept]);
  });

  it('keeps what has overtaken a dead letter, so that this one is told to come late, however late', async () => {
    const aggregateId = newId();
    await delivery({ state: 'done', hours: 1000, aggregateId, version: 1 });
    const dead = await delivery({ state: 'dead', hours: 1000, aggregateId, version: 2 });
    const after = await delivery({ state: 'done', hours: 1000, aggregateId, version: 3 });
    expect(await deleteDoneDeliveries(service.parts.db)).toBe(1);
    expect(await outboxIds()).toEqual([dead, after].toSorted());
    expect(await retryDeadLetters(service.parts.db, { tenantId: 'default', destination: 'bus' })).toBe(1);
    const rows = await service.parts.db.selectFrom('outbox').select('redelivered').where('id', '=', dead).execute();
    expect(rows).toEqual([{ redelivered: true }]);
    expect(await deleteDoneDeliveries(service.parts.db)).toBe(1);
    expect(await outboxIds()).toEqual([dead]);
  });

  it('goes in batches, the oldest first, and waits for nobody', async () => {
    const oldest = await delivery({ state: 'done', hours: 200 });
    const held = await delivery({ state: 'done', hours: 150 });
    const newest = await delivery({ state: 'done', hours: 100 });
    await service.parts.db.transaction().execute(async (tx) => {
      await sql`select from outbox where id = ${held} for update`.execute(tx);
      expect(await deleteDoneDeliveries(service.parts.db, 1)).toBe(1);
      expect(await outboxIds()).toEqual([held, newest].toSorted());
      expect(await deleteDoneDeliveries(service.parts.db, 5)).toBe(1);
      expect(await outboxIds()).toEqual([held]);
    });
    expect(oldest).not.toBe(newest);
  });
});

describe('the clean-up of the inbox', () => {
  it('deletes what is older than any redelivery, but never what a dead letter may still bring again', async () => {
    const dead = await delivery({ state: 'dead', hours: 0 });
    const recent = newId();
    await handled(newId(), 15);
    await handled(recent, 13);
    await handled(dead, 100);
    expect(await deleteOldInboxRows(service.parts.db)).toBe(1);
    expect(await inboxIds()).toEqual([dead, recent].toSorted());
  });

  it('deletes nothing of what Redis has not acknowledged', async () => {
    await settledUntil(500);
    const [settled, open] = [
      await delivery({ state: 'done', hours: 501 }),
      await delivery({ state: 'done', hours: 499 }),
    ];
    await handled(settled, 100);
    await handled(open, 100);
    expect(await deleteOldInboxRows(service.parts.db)).toBe(1);
    expect(await inboxIds()).toEqual([open]);
  });
});
