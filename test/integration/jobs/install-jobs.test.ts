// The schema of the jobs and their queues: made once, by whoever migrates, and waited for by all others.
import { afterEach, beforeEach, expect, it } from 'vitest';
import { installJobs } from '../../../src/jobs/install-jobs.ts';
import { createEmptyDatabase, type EmptyDatabase } from '../../support/empty-database.ts';
import { createLogBook } from '../../support/event-log.ts';
import { errands, openJobs, storedJobs, type JobsUnderTest } from '../../support/jobs.ts';
import { eventually } from '../../support/saga-service.ts';

let database: EmptyDatabase;
let jobs: JobsUnderTest;
beforeEach(async () => {
  database = await createEmptyDatabase();
  jobs = openJobs(database.url);
});
afterEach(async () => {
  await jobs.stop();
  await database.drop();
});

const { logger, warnings } = createLogBook();
const install = async () => await installJobs({ databaseUrl: database.url, names: Object.keys(errands), logger });

it('it is there once, however many install it at once', async () => {
  await Promise.all([install(), install(), install()]);
  const queues = await jobs.store.getQueues();
  expect(queues.map(({ name }) => name).toSorted()).toEqual(['chore', 'chore.dead', 'errand', 'errand.dead']);
  expect(warnings).toEqual([]);
});

it('a queue of an older release gets the settings of this one', async () => {
  await install();
  await jobs.store.updateQueue('errand', { retryLimit: 1, retentionSeconds: 60, deadLetter: null });
  await install();
  const [errand] = await jobs.store.getQueues(['errand']);
  expect(errand).toMatchObject({ retryLimit: 50, deadLetter: 'errand.dead', deleteAfterSeconds: 259_200 });
  expect(errand?.retentionSeconds).toBeGreaterThan(300_000_000);
});

it('who runs jobs says in one line that it is not there, waits for it, and then runs them', async () => {
  jobs.start({ errand: async () => {} });
  await eventually(async () => (jobs.log.warnings.length > 0 ? true : undefined));
  await install();
  await jobs.store.send('errand', { data: { subject: 'lamp' }, metadata: { tenantId: 'default' } });
  await eventually(async () => ((await storedJobs(jobs, 'errand'))[0]?.state === 'completed' ? true : undefined));
  expect(jobs.log.warnings).toEqual(['the job queue is not there, or is older than this release: run `migrate`']);
});
