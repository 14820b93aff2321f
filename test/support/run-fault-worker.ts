// A program for the fault tests: the role `worker` as it is, over collaborators that hold at the points of holds.ts.
import { setTimeout as delay } from 'node:timers/promises';
import { activityInfo } from '@temporalio/activity';
import type { PaymentGateway } from '../../src/payments/payment-gateway.ts';
import { readSettings } from '../../src/platform/config.ts';
import { listenForStop, runUntilStopped, stopAll } from '../../src/platform/lifecycle.ts';
import { createParts, type Parts } from '../../src/processes/parts.ts';
import { installTemporalRuntime, startWorker } from '../../src/processes/worker.ts';
import { passHold, type HoldPoint } from './hold-points.ts';

const pass = async (point: HoldPoint): Promise<void> =>
  await passHold(activityInfo().workflowExecution?.workflowId ?? 'none', point);

function held(gateway: PaymentGateway): PaymentGateway {
  const around = async <T>(name: 'prepare' | 'capture' | 'cancel' | 'refund', call: () => Promise<T>): Promise<T> => {
    await pass(`before:${name}`);
    const result = await call();
    await pass(`after:${name}`);
    return result;
  };
  return {
    ...gateway,
    prepare: async (request) => await around('prepare', async () => await gateway.prepare(request)),
    capture: async (paymentId) => await around('capture', async () => await gateway.capture(paymentId)),
    cancel: async (paymentId) => await around('cancel', async () => await gateway.cancel(paymentId)),
    refund: async (paymentId, refund) => await around('refund', async () => await gateway.refund(paymentId, refund)),
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

const stop = listenForStop();
const settings = readSettings('worker');
const parts = createParts(settings, { role: 'worker', runsLoops: false });
installTemporalRuntime(parts.logger);
const worker = startWorker(heldParts(parts));
// A test goes on from here, and may rely on it.
while (!worker.isPolling()) await delay(10);
parts.logger.info('started');
await runUntilStopped(
  { stop: async () => await stopAll([worker, { stop: parts.close }]) },
  { stop, graceSeconds: settings.shutdownGraceSeconds + 5, logger: parts.logger },
);
process.exit(0);
