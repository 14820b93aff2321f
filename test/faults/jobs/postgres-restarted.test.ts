// PostgreSQL crashes and is stopped under who adds jobs and who runs them: none is lost, none has its effect twice.
import { setTimeout as delay } from 'node:timers/promises';
import { sql } from 'kysely';
import { afterEach, expect, it } from 'vitest';
import { createErrandQueues, deadJobs, openJobs, storedJobs } from '../../support/jobs.ts';
import { startOwnPostgres } from '../../support/own-postgres.ts';
import { eventually } from '../../support/saga-service.ts';

const cleanUps: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});

it('jobs are added and run on by themselves when PostgreSQL is back, each with its effect once', async () => {
  const postgres = await startOwnPostgres();
  cleanUps.push(postgres.remove);
  const jobs = openJobs(postgres.url);
  cleanUps.push(jobs.stop);
  await createErrandQueues(jobs);
  await sql`create table effects (subject text not null)`.execute(jobs.db);
  jobs.start({
    errand: async ({ data: { subject }, complete }) => {
      await jobs.db.transaction().execute(async (tx) => {
        await sql`insert into effects values (${subject})`.execute(tx);
        await delay(20);
        await complete(tx);
      });
    },
  });

  const added: string[] = [];
  const stopping = new AbortController();
  const adding = (async () => {
    for (let number = 0; !stopping.signal.aborted; number += 1) {
      const subject = `lamp-${String(number).padStart(6, '0')}`;
      // Until it has its answer: the key makes a repeat after a lost one harmless.
      while (
        !(await jobs.queue.add('errand', { subject }, { key: subject }).then(
          () => true,
          () => false,
        ))
      )
        await delay(50);
      added.push(subject);
      await delay(5);
    }
  })();

  for (const outage of ['SIGKILL', 'stop', 'SIGQUIT'] as const) {
    const before = added.length;
    await eventually(async () => (added.length >= before + 50 ? true : undefined));
    if (outage === 'stop') await postgres.stop();
    else await postgres.crash(outage);
    await delay(1_000);
    await postgres.startAgain();
  }
  const before = added.length;
  await eventually(async () => (added.length >= before + 50 ? true : undefined));
  stopping.abort();
  await adding;

  await eventually(async () => {
    const stored = await storedJobs(jobs, 'errand');
    return stored.every(({ state }) => state === 'completed') ? true : undefined;
  }, 120_000);
  const { rows } = await sql<{ subject: string }>`select subject from effects order by subject`.execute(jobs.db);
  expect(rows.map(({ subject }) => subject)).toEqual(added);
  expect(await deadJobs(jobs, 'errand')).toEqual([]);
});
