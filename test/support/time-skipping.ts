// Temporal's time-skipping server for one test file. The SDK starts it as a child that nobody ends if the test file
// breaks before its teardown, or is killed: the watchdog does.
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { startWatchdog } from '../../src/embedded/watchdog.ts';
import { childrenOf } from './processes.ts';
import { services } from './services.ts';

export type TimeSkipping = Readonly<{ environment: TestWorkflowEnvironment; tearDown(): Promise<void> }>;

/** The SDK gives the server five seconds to start, which on a busy machine is too little now and then. */
const mostStarts = 3;

async function createPatiently(starts = 1): Promise<TestWorkflowEnvironment> {
  const executable = { type: 'existing-path', path: services().timeSkippingServerPath } as const;
  try {
    return await TestWorkflowEnvironment.createTimeSkipping({ server: { executable } });
  } catch (error) {
    const wasSlow = error instanceof Error && /did not start within/.test(error.message);
    if (!wasSlow || starts >= mostStarts) throw error;
    return await createPatiently(starts + 1);
  }
}

export async function startTimeSkipping(): Promise<TimeSkipping> {
  const watchdog = startWatchdog(process.env);
  const before = childrenOf(process.pid);
  const environment = await createPatiently();
  for (const pid of childrenOf(process.pid)) if (!before.includes(pid)) watchdog.adopt(pid, ['SIGTERM', 'SIGKILL']);
  return {
    environment,
    tearDown: async () => {
      await environment.teardown();
      await watchdog.release();
    },
  };
}
