// Enqueueing: a job is part of the caller's transaction, is what its name says, and is there once per key.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sql } from 'kysely';
import { ZodError } from 'zod';
import { InMemoryEventBus } from '../../../src/bus/in-memory-event-bus.ts';
import { newId } from '../../../src/domain/ids.ts';
import { startJobs, storedJobs, type JobsUnderTest } from '../../support/jobs.ts';

let jobs: JobsUnderTest;
beforeAll(async () => {
  jobs = await startJobs();
});
afterAll(async () => await jobs.stop());
beforeEach(async () => {
  await sql`delete from pgboss.job`.execute(jobs.db);
  await sql`delete from job_keys`.execute(jobs.db);
});

const subject = 'lamp';

describe('a job that is added in a transaction', () => {
  it('is there when that commits, with its data and its metadata', async () => {
    const metadata = { tenantId: 't-1', correlationId: 'c-1', causationId: 'e-1', traceparent: '00-1' };
    await jobs.db.transaction().execute(async (tx) => await jobs.queue.add('errand', { subject }, { tx, metadata }));
    expect(await storedJobs(jobs, 'errand')).toMatchObject([
      { state: 'created', data: { data: { subject }, metadata } },
    ]);
  });

  it('never was when that rolls back, nor was its key taken', async () => {
    const rolledBack = jobs.db.transaction().execute(async (tx) => {
      await jobs.queue.add('errand', { subject }, { tx, key: 'k' });
      throw new Error('on purpose');
    });
    await expect(rolledBack).rejects.toThrow('on purpose');
    expect(await storedJobs(jobs, 'errand')).toEqual([]);
    await jobs.queue.add('errand', { subject }, { key: 'k' });
    expect(await storedJobs(jobs, 'errand')).toHaveLength(1);
  });
});

describe('what a job is', () => {
  it('is what its name says: other data is refused, and nothing is added', async () => {
    // @ts-expect-error Other data does not compile.
    await expect(jobs.queue.add('errand', { subject: 7 })).rejects.toThrow(ZodError);
    expect(await storedJobs(jobs, 'errand')).toEqual([]);
  });

  it('is a name of the catalogue: another one is refused', async () => {
    // @ts-expect-error Another name does not compile.
    await expect(jobs.queue.add('toString', { subject })).rejects.toThrow('there is no job toString');
  });
});

describe('a key', () => {
  it('makes one job of many that are added at once, and leaves another name its own', async () => {
    const add = async () => await jobs.queue.add('errand', { subject }, { key: 'k' });
    await Promise.all([add(), add(), add(), add(), add()]);
    await jobs.queue.add('chore', { subject }, { key: 'k' });
    expect(await storedJobs(jobs, 'errand')).toHaveLength(1);
    expect(await storedJobs(jobs, 'chore')).toHaveLength(1);
  });

  it('holds when its job has been deleted long since', async () => {
    await jobs.queue.add('errand', { subject }, { key: 'k' });
    await sql`delete from pgboss.job`.execute(jobs.db);
    await jobs.queue.add('errand', { subject }, { key: 'k' });
    expect(await storedJobs(jobs, 'errand')).toEqual([]);
  });
});

it('an event that is delivered five times to a named handler makes one job', async () => {
  const bus = new InMemoryEventBus({ db: jobs.db });
  bus.subscribe(
    'thing.made',
    async ({ eventId }, { tx }) =>
      await jobs.queue.add(
        'errand',
        { subject: eventId },
        { tx, metadata: { tenantId: 'default', causationId: eventId } },
      ),
    { name: 'test.errand' },
  );
  const event = {
    eventId: newId(),
    eventType: 'thing.made',
    occurredAt: new Date(),
    aggregateId: newId(),
    aggregateType: 'thing',
    payload: { name: 'lamp' },
    metadata: { tenantId: 'default' },
    version: 1,
    position: '1',
    schemaVersion: 1,
  };
  for (let count = 0; count < 5; count += 1) await bus.deliver(event);
  expect(await storedJobs(jobs, 'errand')).toMatchObject([{ data: { data: { subject: event.eventId } } }]);
});
