// A program for the fault tests: runs errands, each of which writes down that it was begun, holds where it is told to, and
// then has its effect in the transaction that ends it.
import { sql } from 'kysely';
import { listenForStop, runUntilStopped } from '../../src/platform/lifecycle.ts';
import { createLogger } from '../../src/platform/logger.ts';
import { passHold } from './hold-points.ts';
import { openJobs } from './jobs.ts';

const stop = listenForStop();
const logger = createLogger({ level: 'info', role: 'errands' });
const jobs = openJobs(process.env['DATABASE_URL'] ?? '');
jobs.start({
  errand: async ({ data: { subject }, jobId, attempt, complete }) => {
    await sql`insert into attempts (job_id, pid, attempt) values (${jobId}, ${process.pid}, ${attempt})`.execute(
      jobs.db,
    );
    await passHold(subject, 'before:publish');
    await jobs.db.transaction().execute(async (tx) => {
      await sql`insert into effects (job_id, subject) values (${jobId}, ${subject})`.execute(tx);
      await complete(tx);
    });
    await passHold(subject, 'after:publish');
  },
});
logger.info('started');
await runUntilStopped(jobs, { stop, graceSeconds: Number(process.env['SHUTDOWN_GRACE_SECONDS']), logger });
process.exit(0);
