// The two servers of the embedded stack, each with what must be found or made before and after its start.
import pg from 'pg';
import type { Settings } from '../platform/config.ts';
import { findTemporalCli } from './binaries/programs.ts';
import type { Ports } from './ports.ts';
import { startPostgres, type RunningPostgres } from './postgres.ts';
import { startTemporal, type RunningTemporal, type SearchAttributes } from './temporal-server.ts';
import type { Watchdog } from './watchdog.ts';

export type PartDeps = Readonly<{
  settings: Settings;
  /** DATA_DIR, absolute. */
  folder: string;
  ports: Ports;
  environment: NodeJS.ProcessEnv;
  searchAttributes: SearchAttributes;
  report: (line: string) => void;
  signal: AbortSignal;
  watchdog: Watchdog;
  time: <T>(name: string, work: () => Promise<T>) => Promise<T>;
}>;

const database = 'athyper';

/** @param started gets the server as soon as it must be stopped again, also if this then fails. */
export async function embedPostgres(
  deps: PartDeps,
  started: (part: RunningPostgres) => void,
): Promise<Readonly<{ databaseUrl: string }>> {
  const { folder, environment, report, ports, watchdog } = deps;
  const postgres = await deps.time('PostgreSQL', () =>
    startPostgres({ folder, environment, report, port: ports.postgres, durable: true, adopt: watchdog.adopt }),
  );
  started(postgres);
  await createDatabase(postgres.url);
  const url = new URL(postgres.url);
  url.pathname = `/${database}`;
  return { databaseUrl: url.href };
}

/** @param started as for PostgreSQL. */
export async function embedTemporal(
  deps: PartDeps,
  started: (part: RunningTemporal) => void,
): Promise<Readonly<{ temporalAddress: string; temporalUiUrl: string }>> {
  const { folder, environment, report, signal, settings, ports, watchdog, searchAttributes } = deps;
  const { adopt } = watchdog;
  const cli = await deps.time('Temporal CLI', () =>
    findTemporalCli(settings.temporalCli, { environment, report, signal, adopt }),
  );
  const temporal = await deps.time('Temporal', () =>
    startTemporal({
      cli,
      folder,
      durable: true,
      port: ports.temporal,
      uiPort: ports.temporalUi,
      namespace: settings.temporalNamespace,
      searchAttributes,
      environment,
      adopt,
    }),
  );
  started(temporal);
  return { temporalAddress: temporal.address, temporalUiUrl: settings.temporalUiUrl ?? temporal.uiUrl };
}

async function createDatabase(adminUrl: string): Promise<void> {
  const admin = new pg.Client({ connectionString: adminUrl });
  await admin.connect();
  try {
    const { rowCount } = await admin.query('SELECT FROM pg_database WHERE datname = $1', [database]);
    if (rowCount === 0) await admin.query(`CREATE DATABASE ${database}`);
  } finally {
    await admin.end();
  }
}
