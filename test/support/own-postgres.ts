// A durable PostgreSQL of a test's own, migrated, which the test may stop, crash and start again. Same port, same data.
import { findFreePort } from '../../src/embedded/children/free-port.ts';
import { startPostgres, type RunningPostgres } from '../../src/embedded/postgres.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';
import { migrateAll } from '../../src/processes/migrate.ts';
import { createDataDirs } from './data-dirs.ts';

export type OwnPostgres = Readonly<{
  url: string;
  /** In order: what runs is ended, what is committed is written. */
  stop(): Promise<void>;
  /** SIGQUIT: its own immediate stop. SIGKILL: the postmaster is gone, its children follow a moment later. */
  crash(signal: 'SIGQUIT' | 'SIGKILL'): Promise<void>;
  /** Returns when it answers: after a crash, when it has recovered. */
  startAgain(): Promise<void>;
  /** For good, with its data. */
  remove(): Promise<void>;
}>;

export async function startOwnPostgres(): Promise<OwnPostgres> {
  const watchdog = startWatchdog(process.env);
  const dataDirs = createDataDirs();
  const folder = dataDirs.create('data');
  const port = await findFreePort();
  const start = async (): Promise<RunningPostgres> =>
    await startPostgres({
      folder,
      port,
      durable: true,
      environment: process.env,
      report: () => undefined,
      adopt: watchdog.adopt,
    });
  let postgres = await start();
  await migrateAll(postgres.url);
  return {
    url: postgres.url,
    stop: async () => await postgres.stop(),
    async crash(signal) {
      process.kill(postgres.pid, signal);
      await postgres.ended;
    },
    async startAgain() {
      postgres = await start();
    },
    async remove() {
      await postgres.stop();
      await watchdog.release();
      dataDirs.remove();
    },
  };
}
