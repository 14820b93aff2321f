// No role works on a log that comes from another cluster. A database that is away at boot is asked once it is there.
import { setTimeout as sleep } from 'node:timers/promises';
import { refuseForeignLog } from '../event-store/rebase-log.ts';
import type { Running } from '../platform/lifecycle.ts';
import { StartupError } from '../platform/startup-error.ts';
import type { Parts } from './parts.ts';

const retryMilliseconds = 1_000;

/** @throws StartupError where the log is another cluster's */
export async function guardLog({ db, logger }: Parts): Promise<Running> {
  const stopping = new AbortController();
  const { signal } = stopping;
  const isChecked = async (): Promise<boolean> =>
    await refuseForeignLog(db).then(
      () => true,
      (error: unknown) => {
        if (error instanceof StartupError) throw error;
        // Away, or not migrated yet: then nothing can be appended either.
        logger.debug({ err: error }, 'the log could not be checked yet');
        return false;
      },
    );

  async function checkLater(): Promise<void> {
    while (!signal.aborted) {
      await sleep(retryMilliseconds, undefined, { signal }).catch(() => undefined);
      if (signal.aborted || (await isChecked())) return;
    }
  }

  if (await isChecked()) return { stop: async () => {} };
  const later = checkLater().catch((error: unknown) => {
    logger.fatal({ err: error }, 'this process stops');
    process.exitCode = 1;
    process.kill(process.pid, 'SIGTERM');
  });
  return {
    async stop() {
      stopping.abort();
      await later;
    },
  };
}
