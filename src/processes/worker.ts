// Role `worker`: polls Temporal for the sagas' workflow tasks and steps.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DefaultLogger,
  makeTelemetryFilterString,
  NativeConnection,
  Runtime,
  Worker,
  type WorkerOptions,
} from '@temporalio/worker';
import { createOrderActivities } from '../../activities/order-activities.ts';
import { createVerifyAddressActivities } from '../../activities/verify-address.ts';
import { createReconcileActivities } from '../../activities/reconcile-activity.ts';
import type { Running } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import { activityLogAttributes } from './activity-log-attributes.ts';
import { required, type Parts } from './parts.ts';
import { reconcileInWorker } from './reconcile.ts';
import { findWorkflows } from './workflow-bundle.ts';

const reconnectMilliseconds = 1_000;

/** Once per process, before the first worker: the signals are ours, or Temporal's runtime would stop first. */
export function installTemporalRuntime(logger: Logger): void {
  const sink = new DefaultLogger('WARN', ({ level, message, meta }) => {
    const { error: err, ...context } = meta ?? {};
    logger[level === 'ERROR' ? 'error' : 'warn']({ ...context, err }, message);
  });
  // The native core writes to the console unless it is told to pass its lines on.
  const logging = { forward: {}, filter: makeTelemetryFilterString({ core: 'WARN', other: 'ERROR' }) };
  Runtime.install({ shutdownSignals: [], logger: sink, telemetryOptions: { logging } });
}

export type RunningWorker = Running & Readonly<{ isPolling(): boolean }>;

/**
 * Returns at once and runs until stopped: while Temporal is away, or when a worker fails, it is logged and tried again,
 * so that a process which is also something else is that meanwhile.
 * @throws StartupError where WORKFLOW_BUNDLE names none that fits
 */
export function startWorker(parts: Parts): RunningWorker {
  const { logger } = parts;
  const options = workerOptions(parts);
  const stopping = new AbortController();
  let worker: Worker | undefined;

  async function runOnce(): Promise<void> {
    const address = required(parts.settings.temporalAddress, 'TEMPORAL_ADDRESS');
    const connection = await NativeConnection.connect({ address });
    try {
      worker = await Worker.create({ ...options, connection });
      if (!stopping.signal.aborted) await worker.run();
    } finally {
      worker = undefined;
      await connection.close();
    }
  }

  async function run(): Promise<void> {
    while (!stopping.signal.aborted) {
      try {
        await runOnce();
      } catch (error) {
        logger.warn({ err: error }, 'the worker does not run; trying again');
        await sleep(reconnectMilliseconds, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  }

  const running = run();
  return {
    isPolling: () => worker?.getState() === 'RUNNING',
    async stop() {
      stopping.abort();
      if (worker?.getState() === 'RUNNING') worker.shutdown();
      // A connection that is still being made, perhaps to nowhere, is not waited for: nothing was taken on.
      await (worker === undefined ? Promise.race([running, sleep(1_000)]) : running);
    },
  };
}

function workerOptions(parts: Parts): WorkerOptions {
  const { settings, db, store, unitOfWork, repository, gateway } = parts;
  return {
    namespace: settings.temporalNamespace,
    taskQueue: settings.temporalTaskQueue,
    ...findWorkflows(settings.workflowBundle),
    activities: {
      ...createOrderActivities({ db, store, unitOfWork, repository, gateway }),
      ...createVerifyAddressActivities({ db, store, unitOfWork }),
      ...createReconcileActivities(reconcileInWorker(parts)),
    },
    interceptors: { activity: [activityLogAttributes] },
    // Default 0 would cut steps off at SIGTERM. A step's attempt takes 10 s at most.
    shutdownGraceTime: `${Math.max(1, settings.shutdownGraceSeconds - 5)} s`,
    // How long a killed worker's runs wait for it before another takes them over; the default is 10 s. Too short costs
    // no more than a replay elsewhere, and these histories are short.
    stickyQueueScheduleToStartTimeout: '1 s',
    // Or the SDK would hold heartbeats back to one in 1.6 s, and one late one of those looks like a dead worker.
    maxHeartbeatThrottleInterval: '500 ms',
    // Each cached run holds a V8 context's share: bounded, so that a crowd of sagas cannot exhaust the heap.
    maxCachedWorkflows: 250,
    maxConcurrentActivityTaskExecutions: Math.max(4, settings.databasePoolSize),
  };
}
