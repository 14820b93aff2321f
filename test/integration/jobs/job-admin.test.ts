// What an operator sees of jobs and does about them, over HTTP and from a shell, while workers run.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sql } from 'kysely';
import { z } from 'zod';
import { jobCatalogue } from '../../../src/domain/job-catalogue.ts';
import { readJobFigures } from '../../../src/jobs/job-figures.ts';
import { PermanentJobError } from '../../../src/jobs/run-job.ts';
import { StartupError } from '../../../src/platform/startup-error.ts';
import { parseJobsCommand, runJobsCommand } from '../../../src/processes/jobs-command.ts';
import { createErrandQueues, deadJobs, errands, openJobs, storedJobs, type JobsUnderTest } from '../../support/jobs.ts';
import { runMain } from '../../support/role-process.ts';
import { eventually } from '../../support/saga-service.ts';
import { expectInvalid, expectProblem, startApi, type Api } from '../http/api.ts';

let api: Api;
let url: string;
let jobs: JobsUnderTest;
/** Subjects that can never be done, for now. */
let hopeless: Set<string>;
let done: { subject: string; jobId: string; correlationId: string | undefined }[];
beforeAll(async () => {
  const jobNames = Object.keys(errands);
  api = await startApi({ jobNames }, async (given) => await Promise.resolve((url = given)));
});
afterAll(async () => await api.close());
beforeEach(async () => {
  [hopeless, done] = [new Set(), []];
  jobs = openJobs(url);
  await createErrandQueues(jobs);
  jobs.start({
    errand: async ({ data: { subject }, jobId, metadata: { correlationId } }) => {
      if (hopeless.has(subject)) throw new PermanentJobError(`${subject} cannot be done`);
      done.push({ subject, jobId, correlationId });
      await Promise.resolve();
    },
  });
});
afterEach(async () => {
  await sql`delete from pgboss.job`.execute(jobs.db);
  await jobs.stop();
});

const viewSchema = z.looseObject({
  jobId: z.string(),
  name: z.string(),
  state: z.string(),
  lastError: z.string().nullable(),
});
const pageSchema = z.object({ jobs: z.array(viewSchema), next: z.string().nullable() });
async function list(query: string, tenantId = 'default') {
  const reply = await api.call('GET', `/jobs?${query}`, { headers: { 'x-tenant-id': tenantId } });
  expect(reply.status).toBe(200);
  return pageSchema.parse(reply.body);
}
const retry = async (which: string, tenantId = 'default') =>
  await api.call('POST', `/jobs/${which}/retry`, { headers: { 'x-tenant-id': tenantId } });

/** @returns their ids, in the order of dying */
async function buried(subjects: readonly string[], tenantId = 'default'): Promise<readonly string[]> {
  for (const subject of subjects) hopeless.add(subject);
  for (const [index, subject] of subjects.entries()) {
    await jobs.queue.add('errand', { subject }, { metadata: { tenantId, correlationId: `c-${subject}` } });
    await eventually(async () => ((await list('limit=200', tenantId)).jobs.length > index ? true : undefined));
  }
  return (await list('limit=200', tenantId)).jobs.map(({ jobId }) => jobId);
}
const untilDone = async (subjects: readonly string[]): Promise<void> => {
  await eventually(async () => (done.length >= subjects.length ? true : undefined));
  expect(done.map(({ subject }) => subject).toSorted()).toEqual(subjects.toSorted());
};

describe('a dead job', () => {
  it('is listed with its reason, and done when it is sent again, as the same job', async () => {
    const [jobId = ''] = await buried(['lamp']);
    expect((await list('name=errand')).jobs).toEqual([
      {
        jobId,
        name: 'errand',
        state: 'dead',
        attempts: 1,
        lastError: 'PermanentJobError: lamp cannot be done',
        data: { subject: 'lamp' },
        correlationId: 'c-lamp',
        nextAttemptAt: null,
        createdAt: expect.any(String) as unknown,
      },
    ]);
    hopeless.clear();
    const reply = await retry(jobId);
    expect(reply).toMatchObject({ status: 202, body: { retried: 1 } });
    await untilDone(['lamp']);
    expect(done).toEqual([{ subject: 'lamp', jobId, correlationId: 'c-lamp' }]);
    expect((await list('')).jobs).toEqual([]);
  });

  it('that dies again is dead again under the same id, with its reason', async () => {
    const [jobId = ''] = await buried(['lamp']);
    await retry(jobId);
    await eventually(async () => (jobs.outcomes.length === 2 && (await list('')).jobs.length === 1 ? true : undefined));
    expect((await list('')).jobs).toMatchObject([{ jobId, lastError: 'PermanentJobError: lamp cannot be done' }]);
  });

  it('is no business of another tenant', async () => {
    const [jobId = ''] = await buried(['lamp'], 't-1');
    expect((await list('')).jobs).toEqual([]);
    expectProblem(await retry(jobId), 404, 'dead-letter-not-found');
    expect(await retry('errand')).toMatchObject({ status: 202, body: { retried: 0 } });
    expect(await deadJobs(jobs, 'errand')).toHaveLength(1);
  });
});

it('all dead jobs of a name are sent again at once, and those of no other', async () => {
  await buried(['a', 'b', 'c']);
  hopeless.clear();
  expect(await retry('chore')).toMatchObject({ status: 202, body: { retried: 0 } });
  expect(await retry('errand')).toMatchObject({ status: 202, body: { retried: 3 } });
  await untilDone(['a', 'b', 'c']);
});

it('a long list comes in pages, in the order of dying', async () => {
  const ids = await buried(['a', 'b', 'c']);
  const first = await list('limit=2');
  const second = await list(`limit=2&after=${first.next}`);
  expect([...first.jobs, ...second.jobs].map(({ jobId }) => jobId)).toEqual(ids);
  expect(second.next).toBeNull();
});

it('a job that waits is listed as pending, one that is done is not, and the figures say as much', async () => {
  await buried(['a']);
  await jobs.queue.add('errand', { subject: 'b' });
  await untilDone(['b']);
  // Nobody here does chores.
  await jobs.queue.add('chore', { subject: 'c' });
  expect((await list('state=pending')).jobs).toMatchObject([
    { name: 'chore', state: 'pending', attempts: 0, lastError: null },
  ]);
  await sql`update pgboss.job set created_on = now() - interval '1 hour' where name = 'chore'`.execute(jobs.db);
  expect(await readJobFigures(jobs.db, ['chore', 'errand'])).toEqual([
    { name: 'chore', pending: 1, oldestPendingSeconds: expect.closeTo(3_600, -2) as number, dead: 0 },
    { name: 'errand', pending: 0, oldestPendingSeconds: 0, dead: 1 },
  ]);
});

it.each(['state=done', 'limit=0', 'limit=201', 'after=x', 'tenant=t-1'])('a query of %s is refused', async (query) => {
  expectInvalid(await api.call('GET', `/jobs?${query}`), query.split('=')[0] ?? '');
});

it('a name that there is not is refused', async () => {
  expectProblem(await retry('nothing'), 404, 'job-not-found');
  expectProblem(await api.call('GET', '/jobs?name=nothing'), 404, 'job-not-found');
});

describe('from a shell', () => {
  const run = async (line: string) => await runJobsCommand(jobs.db, parseJobsCommand(line.split(' ')));
  const add = async (tenantId: string): Promise<string> => {
    await jobs.store.send('refund.dead', { data: { orderId: 'o-1' }, metadata: { tenantId } });
    await sql`
      update pgboss.job set source_name = 'refund', source_id = id, source_root_id = id, source_retry_count = 0,
        source_output = '{"error": "on purpose"}'
      where name = 'refund.dead'`.execute(jobs.db);
    return (await storedJobs(jobs, 'refund.dead')).at(-1)?.id ?? '';
  };

  it('dead jobs of all tenants are listed and sent again, one or all', async () => {
    const ids = [await add('t-1'), await add('t-2'), await add('t-2')];
    const listed = pageSchema.omit({ next: true }).parse(JSON.parse(await run('list --state dead --json')));
    expect(listed.jobs.map(({ jobId, lastError }) => [jobId, lastError])).toEqual(
      ids.map((jobId) => [jobId, 'on purpose']),
    );
    expect(await run(`retry ${ids[0]}`)).toBe(`Job ${ids[0]} will be run again.\n`);
    expect(await run('retry refund --all')).toBe('2 dead refund jobs will be run again.\n');
    expect(await run('list --state dead')).toBe('There is none.\n');
    expect(await run('list --name refund')).toMatch(/JOB ID +NAME.*\n(?:\S+ +refund +pending +0 .*\n){3}$/);
    await expect(run(`retry ${ids[0]}`)).rejects.toThrow(StartupError);
  });

  it('it works as a process of its own', async () => {
    const jobId = await add('t-1');
    const end = await runMain(['jobs', 'list', '--state', 'dead'], { DATABASE_URL: url });
    expect(end).toMatchObject({ code: 0, stderr: '' });
    expect(end.stdout).toContain(jobId);
  });
});

it('every job of the catalogue has its queue once the database is migrated', async () => {
  const queues = (await jobs.store.getQueues()).map(({ name, deadLetter }) => [name, deadLetter]);
  for (const name of Object.keys(jobCatalogue)) expect(queues).toContainEqual([name, `${name}.dead`]);
});
