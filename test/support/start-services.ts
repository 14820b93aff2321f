import { mkdtempSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { findTemporalCli, findTimeSkippingServer } from '../../src/embedded/binaries/programs.ts';
import { findFreePort } from '../../src/embedded/children/free-port.ts';
import { removeDataDir } from '../../src/embedded/postgres/data-folder.ts';
import { startPostgres, type RunningPostgres } from '../../src/embedded/postgres.ts';
import { startTemporal, type RunningTemporal } from '../../src/embedded/temporal-server.ts';
import { startWatchdog, type Watchdog } from '../../src/embedded/watchdog.ts';
import { templateDatabase } from './database.ts';
import type { Services } from './services.ts';

export type RunningServices = Readonly<{ services: Services; stop(): Promise<void> }>;

const environment = process.env;
const report = (line: string) => void process.stderr.write(`set-up: ${line}\n`);

/** Starts what the tests share. If one part fails, the others are stopped and its error is thrown. */
export async function startServices(): Promise<RunningServices> {
  const folder = mkdtempSync(join(tmpdir(), 'athyper-sagas-test-'));
  const watchdog = startWatchdog(environment);
  watchdog.removeAfterwards(folder);
  const [postgres, temporal, timeSkippingServer] = await Promise.allSettled([
    startTemplatedPostgres(folder, watchdog),
    startTemporalForTests(folder, watchdog),
    findTimeSkippingServer(environment['TEMPORAL_TEST_SERVER'], { environment, report }),
  ]);
  const stop = async () => {
    await Promise.all(
      [postgres, temporal].map(async (part) => (part.status === 'fulfilled' ? part.value.stop() : undefined)),
    );
    await watchdog.release();
    removeDataDir(folder);
  };
  if (postgres.status === 'fulfilled' && temporal.status === 'fulfilled' && timeSkippingServer.status === 'fulfilled') {
    return {
      services: {
        postgresAdminUrl: postgres.value.url,
        temporalAddress: temporal.value.address,
        temporalUiUrl: temporal.value.uiUrl,
        timeSkippingServerPath: timeSkippingServer.value,
      },
      stop,
    };
  }
  await stop();
  throw [postgres, temporal, timeSkippingServer].find((part) => part.status === 'rejected')?.reason;
}

async function startTemplatedPostgres(folder: string, watchdog: Watchdog): Promise<RunningPostgres> {
  const postgres = await startPostgres({
    folder,
    port: await findFreePort(),
    durable: false,
    environment,
    report,
    adopt: watchdog.adopt,
  });
  watchdog.removeAfterwards(realpathSync(join(folder, 'postgres')));
  try {
    await makeTemplate(postgres.url);
  } catch (error) {
    await postgres.stop();
    throw error;
  }
  return postgres;
}

async function makeTemplate(adminUrl: string): Promise<void> {
  const admin = new pg.Client({ connectionString: adminUrl });
  await admin.connect();
  try {
    await admin.query(`CREATE DATABASE ${templateDatabase}`);
    const url = new URL(adminUrl);
    url.pathname = `/${templateDatabase}`;
    const { migrateAll } = await import('../../src/processes/migrate.ts');
    await migrateAll(url.href);
    // Nobody can connect to it and make it too busy to be cloned.
    await admin.query(`ALTER DATABASE ${templateDatabase} WITH IS_TEMPLATE true ALLOW_CONNECTIONS false`);
  } finally {
    await admin.end();
  }
}

async function startTemporalForTests(folder: string, watchdog: Watchdog): Promise<RunningTemporal> {
  const cli = await findTemporalCli(environment['TEMPORAL_CLI'], { environment, report });
  const port = await findFreePort();
  return startTemporal({
    cli,
    folder,
    durable: false,
    port,
    uiPort: await findFreePort([port]),
    namespace: 'default',
    searchAttributes: {
      OrderId: 'Keyword',
      CustomerId: 'Keyword',
      TenantId: 'Keyword',
      SagaStatus: 'Keyword',
      SagaStep: 'Keyword',
    },
    environment,
    adopt: watchdog.adopt,
  });
}
