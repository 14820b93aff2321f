// Processes that run jobs, really killed: every job is run again, and has its effect in PostgreSQL once.
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createHolds, type Holds } from '../../support/holds.ts';
import { deadJobs, startJobs, storedJobs, type JobsUnderTest } from '../../support/jobs.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually } from '../../support/saga-service.ts';

let jobs: JobsUnderTest;
let roles: RoleProcesses;
let holds: Holds;
beforeEach(async () => {
  jobs = await startJobs();
  await sql`create table attempts (job_id uuid not null, pid int not null, attempt int not null)`.execute(jobs.db);
  await sql`create table effects (job_id uuid not null, subject text not null)`.execute(jobs.db);
  holds = createHolds();
  roles = createRoleProcesses({ DATABASE_URL: jobs.url, SHUTDOWN_GRACE_SECONDS: '10', ...holds.environment });
});
afterEach(async () => {
  await roles.stop();
  await jobs.stop();
  holds.remove();
});

const startWorker = async (): Promise<RoleProcess> => await roles.startProgram('run-errand-worker.ts');
/** A job whose process is gone is missed within half a minute, on a machine that is busy a bit later. */
const missedWithin = 90_000;

async function untilAllDone(): Promise<void> {
  await eventually(
    async () => ((await storedJobs(jobs, 'errand')).every(({ state }) => state === 'completed') ? true : undefined),
    missedWithin,
  );
}
const effects = async (): Promise<readonly string[]> => {
  const { rows } = await sql<{ subject: string }>`select subject from effects order by subject`.execute(jobs.db);
  return rows.map(({ subject }) => subject);
};
const attempts = async () =>
  (await sql<{ pid: number; attempt: number }>`select pid, attempt from attempts order by attempt`.execute(jobs.db))
    .rows;

it('a job whose process is killed in the middle of it is run again by another, and has its effect once', async () => {
  holds.hold('lamp', 'before:publish');
  const killed = await startWorker();
  await jobs.queue.add('errand', { subject: 'lamp' });
  await holds.reached('lamp', 'before:publish');
  const other = await startWorker();
  await killed.kill();
  await untilAllDone();
  expect(await attempts()).toEqual([
    { pid: killed.pid, attempt: 1 },
    { pid: other.pid, attempt: 2 },
  ]);
  expect(await effects()).toEqual(['lamp']);
});

it('a job that has ended in its own transaction is not run again where its process is killed right after', async () => {
  holds.hold('lamp', 'after:publish');
  const killed = await startWorker();
  await jobs.queue.add('errand', { subject: 'lamp' });
  await holds.reached('lamp', 'after:publish');
  await killed.kill();
  await startWorker();
  await jobs.queue.add('errand', { subject: 'marker' });
  await untilAllDone();
  expect(await attempts()).toMatchObject([{ attempt: 1 }, { attempt: 1 }]);
  expect(await effects()).toEqual(['lamp', 'marker']);
});

it('two processes share many jobs, one of them is killed, and each job has its effect once', async () => {
  const subjects = Array.from({ length: 300 }, (_, number) => `lamp-${String(number).padStart(3, '0')}`);
  const [killed] = await Promise.all([startWorker(), startWorker()]);
  for (const subject of subjects) await jobs.queue.add('errand', { subject });
  await eventually(async () => ((await effects()).length >= 50 ? true : undefined));
  await killed.kill();
  await untilAllDone();
  expect(await effects()).toEqual(subjects);
  expect(new Set((await attempts()).map(({ pid }) => pid)).size).toBe(2);
  expect(await deadJobs(jobs, 'errand')).toEqual([]);
});

it('a process that is told to stop ends the job that it has, and hands over the rest', async () => {
  holds.hold('lamp', 'before:publish');
  const worker = await startWorker();
  await jobs.queue.add('errand', { subject: 'lamp' });
  await holds.reached('lamp', 'before:publish');
  const ended = worker.terminate();
  holds.release('lamp', 'before:publish');
  expect(await ended).toMatchObject({ code: 0 });
  expect(await effects()).toEqual(['lamp']);
  expect((await storedJobs(jobs, 'errand')).map(({ state }) => state)).toEqual(['completed']);
});
