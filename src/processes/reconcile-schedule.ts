// The Temporal Schedule that reconciles every five minutes. Every worker makes sure that it is there and as it should
// be; one that is paused in the Web UI stays paused.
import { setTimeout as sleep } from 'node:timers/promises';
import { ScheduleAlreadyRunning, ScheduleOverlapPolicy, type ScheduleOptions } from '@temporalio/client';
import { reconcileName, type ReconcileInput } from '../domain/reconcile-contract.ts';
import type { Running } from '../platform/lifecycle.ts';
import { withDeadline } from '../platform/temporal-client.ts';
import type { Parts } from './parts.ts';

const retryMilliseconds = 5_000;
const callMilliseconds = 10_000;
/** What is older is for the command: it looks at everything unless it is told not to. */
const sinceHours = 24;

/** One for each task queue, since several installations may share a namespace. */
export const reconcileScheduleId = (taskQueue: string): string => `reconcile-${taskQueue}`;

/** Returns at once. While Temporal is away it is tried again; the worker does its work without it. */
export function keepReconcileSchedule(parts: Parts): Running {
  const { settings, logger } = parts;
  const stopping = new AbortController();
  const { signal } = stopping;

  async function run(): Promise<void> {
    while (!signal.aborted) {
      try {
        await ensureReconcileSchedule(parts);
        return;
      } catch (error) {
        logger.warn({ err: error }, 'the schedule of reconcile is not there yet; trying again');
        await sleep(retryMilliseconds, undefined, { signal }).catch(() => undefined);
      }
    }
  }

  const running = settings.reconcile === 'off' ? Promise.resolve() : run();
  return {
    async stop() {
      stopping.abort();
      // A call that is under way, perhaps to nowhere, is not waited for.
      await Promise.race([running, sleep(1_000)]);
    },
  };
}

/** Any number of workers may do so at once. @throws where Temporal is away, or refuses */
export async function ensureReconcileSchedule({ temporal, settings }: Parts): Promise<void> {
  const options = scheduleOptions(settings.temporalTaskQueue, {
    repair: settings.reconcile === 'repair',
    sinceHours,
  });
  await withDeadline(temporal, callMilliseconds, async () => {
    try {
      await temporal.schedule.create(options);
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      const { spec, action, policies } = options;
      const handle = temporal.schedule.getHandle(options.scheduleId);
      await handle.update(({ state }) => ({ spec, action, policies: policies ?? {}, state }));
    }
  });
}

/** A turn that comes while a run is open is skipped, and those of an outage are not made up for. */
const scheduleOptions = (taskQueue: string, input: ReconcileInput): ScheduleOptions => ({
  scheduleId: reconcileScheduleId(taskQueue),
  spec: { intervals: [{ every: '5 minutes' }] },
  policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1 minute' },
  action: {
    type: 'startWorkflow',
    workflowType: reconcileName,
    workflowId: reconcileScheduleId(taskQueue),
    taskQueue,
    args: [input],
    staticSummary: input.repair ? 'Reconcile, and mend what is safe' : 'Reconcile, report only',
  },
});
