// A durable Temporal dev server of a test's own, which the test may kill and start again. Same ports, same histories.
import { findTemporalCli } from '../../src/embedded/binaries/programs.ts';
import { findFreePort } from '../../src/embedded/children/free-port.ts';
import { startTemporal, type RunningTemporal } from '../../src/embedded/temporal-server.ts';
import { startWatchdog } from '../../src/embedded/watchdog.ts';
import { createDataDirs } from './data-dirs.ts';

export type OwnTemporal = Readonly<{
  /** What a service needs to find it. */
  environment: Readonly<{ TEMPORAL_ADDRESS: string; TEMPORAL_UI_URL: string }>;
  /** kill -9, and its end. */
  kill(): Promise<void>;
  /** Returns when it serves. */
  startAgain(): Promise<void>;
  /** For good, with its histories. */
  remove(): Promise<void>;
}>;

export async function startOwnTemporal(): Promise<OwnTemporal> {
  const environment = process.env;
  const cli = await findTemporalCli(environment['TEMPORAL_CLI'], { environment, report: () => undefined });
  const watchdog = startWatchdog(environment);
  const dataDirs = createDataDirs();
  const folder = dataDirs.create('data');
  const port = await findFreePort();
  const uiPort = await findFreePort([port]);
  const start = async (): Promise<RunningTemporal> =>
    await startTemporal({
      cli,
      folder,
      durable: true,
      port,
      uiPort,
      namespace: 'default',
      // The relay registers what it needs.
      searchAttributes: {},
      environment,
      adopt: watchdog.adopt,
    });
  let temporal = await start();
  return {
    environment: { TEMPORAL_ADDRESS: temporal.address, TEMPORAL_UI_URL: temporal.uiUrl },
    async kill() {
      process.kill(temporal.pid, 'SIGKILL');
      await temporal.ended;
    },
    async startAgain() {
      temporal = await start();
    },
    async remove() {
      await temporal.stop();
      await watchdog.release();
      dataDirs.remove();
    },
  };
}
