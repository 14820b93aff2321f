// Running jobs: at least once, each within its time, none in the way of another; what cannot be done is a dead letter.
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { sql } from 'kysely';
import { UnavailableError } from '../../../src/domain/errors.ts';
import { mostFaults } from '../../../src/jobs/job-store.ts';
import { PermanentJobError } from '../../../src/jobs/run-job.ts';
import { deadJobs, dueNow, openJobs, startJobs, storedJobs, type JobsUnderTest } from '../../support/jobs.ts';
import { createHold, eventually } from '../../support/saga-service.ts';

let jobs: JobsUnderTest;
beforeEach(async () => {
  jobs = await startJobs();
});
afterEach(async () => await jobs.stop());

const subject = 'lamp';
const metadata = { tenantId: 't-1', correlationId: 'c-1' };

const untilState = async (state: string, name = 'errand'): Promise<void> => {
  await eventually(async () => {
    const stored = await storedJobs(jobs, name);
    return stored.length > 0 && stored.every((job) => job.state === state) ? true : undefined;
  });
};

describe('a job', () => {
  it('is run with its data and metadata, once, and is done', async () => {
    const seen: unknown[] = [];
    jobs.start({
      errand: async ({ data, metadata: given, jobId, attempt }) =>
        void seen.push({ data, metadata: given, jobId, attempt }),
    });
    await jobs.queue.add('errand', { subject }, { metadata });
    await untilState('completed');
    const [{ id } = { id: '' }] = await storedJobs(jobs, 'errand');
    expect(seen).toEqual([{ data: { subject }, metadata, jobId: id, attempt: 1 }]);
    expect(jobs.outcomes).toEqual(['done']);
  });

  it('that fails is tried again, later and later', async () => {
    jobs.start({ errand: async () => await Promise.reject(new Error('no')) });
    await jobs.queue.add('errand', { subject });
    await untilState('retry');
    const delays = async () =>
      await sql<{ seconds: number }>`
        select extract(epoch from start_after - started_on)::float as seconds from pgboss.job where name = 'errand'`.execute(
        jobs.db,
      );
    const first = (await delays()).rows[0]?.seconds ?? 0;
    await eventually(async () => ((await storedJobs(jobs, 'errand'))[0]?.attempts === 3 ? true : undefined));
    await untilState('retry');
    const third = (await delays()).rows[0]?.seconds ?? 0;
    expect(first).toBeLessThan(third);
    expect(third).toBeGreaterThanOrEqual(4);
  });

  it('that has failed so often by its own fault is a dead letter, with the reason', async () => {
    await jobs.queue.add('errand', { subject });
    await sql`update pgboss.job set started_on = now(), retry_count = ${mostFaults - 2}`.execute(jobs.db);
    jobs.start({ errand: async () => await Promise.reject(new Error('no')) });
    await untilState('failed');
    expect(await deadJobs(jobs, 'errand')).toMatchObject([{ data: { data: { subject } } }]);
    expect(jobs.outcomes).toEqual(['dead']);
  });

  it('that finds the other side away keeps its attempts, and is done soon after that is back', async () => {
    let away = true;
    jobs.start({
      errand: async () => {
        if (away) throw new UnavailableError('the mail server is away');
      },
    });
    await jobs.queue.add('errand', { subject });
    // Many attempts were given back before; one more fault, and it would be dead.
    await sql`update pgboss.job set started_on = now(), retry_count = 75, retry_limit = 77`.execute(jobs.db);
    await eventually(async () => {
      await dueNow(jobs);
      return jobs.outcomes.length >= 5 ? true : undefined;
    });
    const { rows } = await sql<{ left: number; seconds: number }>`
      select retry_limit - retry_count as left, extract(epoch from start_after - now())::float as seconds
      from pgboss.job where name = 'errand'`.execute(jobs.db);
    expect(rows[0]?.left).toBeGreaterThan(0);
    away = false;
    await eventually(async () => {
      await dueNow(jobs);
      return (await storedJobs(jobs, 'errand'))[0]?.state === 'completed' ? true : undefined;
    });
    expect(await deadJobs(jobs, 'errand')).toEqual([]);
    expect(new Set(jobs.outcomes)).toEqual(new Set(['away', 'done']));
  });

  it('that can never be done is a dead letter at once', async () => {
    jobs.start({ errand: async () => await Promise.reject(new PermanentJobError('no such address')) });
    await jobs.queue.add('errand', { subject });
    await untilState('failed');
    expect(await deadJobs(jobs, 'errand')).toHaveLength(1);
    expect(jobs.outcomes).toEqual(['dead']);
  });

  it('whose data no longer fits is a dead letter at once, and its handler is not called', async () => {
    let calls = 0;
    jobs.start({ errand: async () => void (calls += 1) });
    await jobs.store.send('errand', { data: { topic: 'from an older release' }, metadata });
    await untilState('failed');
    expect(await deadJobs(jobs, 'errand')).toHaveLength(1);
    expect(calls).toBe(0);
  });

  it('that hangs is given up when its time is over, told so by its signal, and tried again', async () => {
    const reasons: unknown[] = [];
    const hung = createHold();
    jobs.start(
      {
        errand: async ({ signal, attempt }) => {
          signal.addEventListener('abort', () => reasons.push((signal.reason as Error).message));
          if (attempt === 1) await hung.wait();
        },
      },
      { concurrency: 1, limitSeconds: 0.3 },
    );
    await jobs.queue.add('errand', { subject });
    await untilState('completed');
    hung.release();
    expect(jobs.outcomes).toEqual(['failed', 'done']);
    expect(reasons).toEqual(['not done within 0.3 s']);
    expect((await storedJobs(jobs, 'errand'))[0]?.attempts).toBe(2);
  });
});

it('a queue whose jobs all hang delays no other queue', async () => {
  const hung = createHold();
  jobs.start({ errand: hung.wait, chore: async () => {} }, { concurrency: 2 });
  for (let count = 0; count < 10; count += 1) await jobs.queue.add('errand', { subject });
  await hung.reached;
  await jobs.queue.add('chore', { subject });
  await untilState('completed', 'chore');
  expect((await storedJobs(jobs, 'errand')).filter(({ state }) => state === 'completed')).toEqual([]);
  hung.release();
  await untilState('completed', 'errand');
});

it('two processes share the work, and no job is run by both at a time', async () => {
  const other = openJobs(jobs.url);
  const underWay = new Map<string, number>();
  const workedBy = new Set<string>();
  let twice = 0;
  const handlerOf =
    (process: string) =>
    async ({ jobId }: Readonly<{ jobId: string }>) => {
      workedBy.add(process);
      const now = (underWay.get(jobId) ?? 0) + 1;
      underWay.set(jobId, now);
      if (now > 1) twice += 1;
      await new Promise((resolve) => setImmediate(resolve));
      underWay.set(jobId, (underWay.get(jobId) ?? 0) - 1);
    };
  for (let count = 0; count < 200; count += 1) await jobs.queue.add('errand', { subject: String(count) });
  jobs.start({ errand: handlerOf('one') });
  other.start({ errand: handlerOf('other') });
  await untilState('completed');
  await other.stop();
  expect(twice).toBe(0);
  expect(jobs.outcomes.length + other.outcomes.length).toBe(200);
  expect([...workedBy].toSorted()).toEqual(['one', 'other']);
});

describe('a stop', () => {
  it('lets a job under way end, and begins no other', async () => {
    const hold = createHold();
    const workers = jobs.start({ errand: hold.wait }, { concurrency: 1 });
    await jobs.queue.add('errand', { subject: 'first' });
    await hold.reached;
    await jobs.queue.add('errand', { subject: 'second' });
    const stopped = workers.stop();
    hold.release();
    await stopped;
    expect((await storedJobs(jobs, 'errand')).map(({ state }) => state)).toEqual(['completed', 'created']);
  });

  it('hands a job back that takes longer than the grace, and says so by its signal', async () => {
    const hold = createHold();
    let aborted = false;
    const workers = jobs.start(
      {
        errand: async ({ signal }) => {
          signal.addEventListener('abort', () => (aborted = true));
          await hold.wait();
        },
      },
      { graceSeconds: 1 },
    );
    await jobs.queue.add('errand', { subject });
    await hold.reached;
    await workers.stop();
    expect(aborted).toBe(true);
    expect((await storedJobs(jobs, 'errand')).map(({ state }) => state)).toEqual(['retry']);
    hold.release();
  });
});

describe('a job that is ended in a transaction of its handler', () => {
  beforeEach(async () => await sql`create table effects (job_id uuid not null)`.execute(jobs.db).then(() => undefined));
  const effects = async () => (await sql`select job_id from effects`.execute(jobs.db)).rows.length;

  it('has its effect once, also where the handler fails after the commit', async () => {
    jobs.start({
      errand: async ({ jobId, complete }) => {
        await jobs.db.transaction().execute(async (tx) => {
          await sql`insert into effects values (${jobId})`.execute(tx);
          await complete(tx);
        });
        throw new Error('after the commit');
      },
    });
    await jobs.queue.add('errand', { subject });
    await untilState('completed');
    expect(await effects()).toBe(1);
  });

  it('has no effect where another attempt has it by then', async () => {
    const hold = createHold();
    const ends: unknown[] = [];
    jobs.start(
      {
        errand: async ({ jobId, attempt, complete }) => {
          if (attempt === 1) await hold.wait();
          const work = jobs.db.transaction().execute(async (tx) => {
            await sql`insert into effects values (${jobId})`.execute(tx);
            await complete(tx);
          });
          ends.push(
            await work.then(
              () => 'done',
              (error: Error) => error.message,
            ),
          );
        },
      },
      { limitSeconds: 0.3 },
    );
    await jobs.queue.add('errand', { subject });
    await untilState('completed');
    hold.release();
    await eventually(async () => (ends.length === 2 ? true : undefined));
    expect(ends).toEqual(['done', expect.stringContaining("no longer this attempt's to end")]);
    expect(await effects()).toBe(1);
  });
});
