// Two processes that are rolled out at once, each of which brings the database up to date.
import { expect, it } from 'vitest';
import { jobCatalogue } from '../../../src/domain/job-catalogue.ts';
import { createEmptyDatabase } from '../../support/empty-database.ts';
import { runMain } from '../../support/role-process.ts';

/** Each waits for the other's migrations. */
const limitMilliseconds = 120_000;

it('an empty database that two processes migrate at once has each migration and each queue once, and both end well', async () => {
  const database = await createEmptyDatabase();
  const ends = await Promise.all(
    [1, 2].map(async () => await runMain(['migrate'], { DATABASE_URL: database.url }, limitMilliseconds)),
  );
  const all = await database.query<{ name: string }>('select name from kysely_migration order by name');
  expect(all.length).toBeGreaterThanOrEqual(9);
  expect(ends.map(({ code, stderr }) => ({ code, stderr }))).toEqual([1, 2].map(() => ({ code: 0, stderr: '' })));
  expect(ends.map(({ stdout }) => stdout).toSorted()).toEqual([
    `Migrated: ${all.map(({ name }) => name).join(', ')}.\n`,
    'The database is up to date.\n',
  ]);
  const queues = await database.query<{ name: string }>('select name from pgboss.queue order by name');
  const names = Object.keys(jobCatalogue).flatMap((name) => [name, `${name}.dead`]);
  expect(queues.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
  await database.drop();
});
