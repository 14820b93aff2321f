// Temporal's time-skipping server for one test file. The SDK starts it as a child that nobody ends if the test file
// breaks before its teardown, or is killed: the watchdog does.
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { startWatchdog } from '../../src/embedded/watchdog.ts';
import { childrenOf } from './processes.ts';
import { services } from './services.ts';

export type TimeSkipping = Readonly<{ environment: TestWorkflowEnvironment; tearDown(): Promise<void> }>;

export async function startTimeSkipping(): Promise<TimeSkipping> {
  const watchdog = startWatchdog(process.env);
  const before = childrenOf(process.pid);
  const executable = { type: 'existing-path', path: services().timeSkippingServerPath } as const;
  const environment = await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } });
  for (const pid of childrenOf(process.pid)) if (!before.includes(pid)) watchdog.adopt(pid, ['SIGTERM', 'SIGKILL']);
  return {
    environment,
    tearDown: async () => {
      await environment.teardown();
      await watchdog.release();
    },
  };
}
