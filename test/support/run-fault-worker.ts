// A program for the fault tests: the role `worker` as it is, over collaborators that hold at the points
// of holds.ts, and meet the faults of faults.ts.
import { setTimeout as delay } from 'node:timers/promises';
import { activityInfo } from '@temporalio/activity';
import { Worker } from '@temporalio/worker';
import type { PaymentGateway } from '../../src/payments/payment-gateway.ts';
import { readSettings } from '../../src/platform/config.ts';
import { listenForStop, runUntilStopped, stopAll } from '../../src/platform/lifecycle.ts';
import { createParts, type Parts } from '../../src/processes/parts.ts';
import { installTemporalRuntime, startWorker } from '../../src/processes/worker.ts';
import { passFault } from './fault-points.ts';
import { passHold, type GatewayCall, type HoldPoint } from './hold-points.ts';

/** @returns whether the activity is to run twice */
async function pass(point: HoldPoint): Promise<boolean> {
  const workflowId = activityInfo().workflowExecution?.workflowId ?? 'none';
  await passHold(workflowId, point);
  return await passFault(workflowId, point);
}

function held(gateway: PaymentGateway): PaymentGateway {
  const around = async <T>(name: GatewayCall, call: () => Promise<T>): Promise<T> => {
    const { activityType } = activityInfo();
    await pass(`before:${name}`);
    await pass(`before:${name}@${activityType}`);
    const result = await call();
    await pass(`after:${name}`);
    await pass(`after:${name}@${activityType}`);
    return result;
  };
  return {
    ...gateway,
    prepare: async (request) => await around('prepare', async () => await gateway.prepare(request)),
    capture: async (paymentId) => await around('capture', async () => await gateway.capture(paymentId)),
    cancel: async (paymentId) => await around('cancel', async () => await gateway.cancel(paymentId)),
    refund: async (paymentId, refund) => await around('refund', async () => await gateway.refund(paymentId, refund)),
    get: async (paymentId) => await around('get', async () => await gateway.get(paymentId)),
  };
}

function heldParts(parts: Parts): Parts {
  return {
    ...parts,
    gateway: held(parts.gateway),
    async unitOfWork(work) {
      const { activityType } = activityInfo();
      await pass(`begin:${activityType}`);
      const result = await parts.unitOfWork(async (unit) => {
        const value = await work(unit);
        await pass(`uncommitted:${activityType}`);
        return value;
      });
      await pass(`committed:${activityType}`);
      return result;
    },
  };
}

type Activity = (input: unknown) => Promise<unknown>;

function heldActivity(name: string, activity: Activity): Activity {
  return async (input) => {
    const twin = (await pass(`entering:${name}`)) ? activity(input) : undefined;
    // Its answer goes nowhere: Temporal takes one.
    twin?.catch(() => undefined);
    const answer = await activity(input);
    await pass(`leaving:${name}`);
    return answer;
  };
}

/** The role makes its activities itself, so they are taken where it hands them to the SDK. */
function holdActivities(): void {
  const create = Worker.create.bind(Worker);
  Worker.create = async ({ activities = {}, ...options }) => {
    const known = Object.entries(activities as Readonly<Record<string, Activity>>);
    const holding = known.map(([name, activity]) => [name, heldActivity(name, activity)] as const);
    return await create({ ...options, activities: Object.fromEntries(holding) });
  };
}

const stop = listenForStop();
const settings = readSettings('worker');
const parts = createParts(settings, { role: 'worker', runsLoops: false });
installTemporalRuntime(parts.logger);
holdActivities();
const worker = startWorker(heldParts(parts));
// A test goes on from here, and may rely on it.
while (!worker.isPolling()) await delay(10);
parts.logger.info('started');
await runUntilStopped(
  { stop: async () => await stopAll([worker, { stop: parts.close }]) },
  { stop, graceSeconds: settings.shutdownGraceSeconds + 5, logger: parts.logger },
);
process.exit(0);
