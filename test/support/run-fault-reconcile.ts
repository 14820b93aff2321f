// A program for the fault tests: `reconcile --repair` as it is, over a gateway and a Temporal client that hold around
// what is mended.
import { readSettings } from '../../src/platform/config.ts';
import { withDeadline } from '../../src/platform/temporal-client.ts';
import { createParts } from '../../src/processes/parts.ts';
import { reconcileParts } from '../../src/processes/reconcile.ts';
import { passHold } from './hold-points.ts';

const parts = createParts(readSettings('reconcile'), { role: 'reconcile', runsLoops: false });
const { gateway, temporal } = parts;
const start = temporal.workflow.start.bind(temporal.workflow) as (...args: unknown[]) => Promise<unknown>;
Object.assign(temporal.workflow, {
  start: async (name: string, options: Readonly<{ workflowId: string }>) => {
    await passHold(options.workflowId, 'before:start');
    const handle = await withDeadline(temporal, 5_000, async () => await start(name, options));
    await passHold(options.workflowId, 'after:start');
    return handle;
  },
});
parts.logger.info('started');
const summary = await reconcileParts(
  {
    ...parts,
    gateway: {
      ...gateway,
      refund: async (paymentId, refund) => {
        await passHold(paymentId, 'before:refund');
        const payment = await gateway.refund(paymentId, refund);
        await passHold(paymentId, 'after:refund');
        return payment;
      },
    },
  },
  { repair: true, graceSeconds: 0, sinceHours: undefined, onPage: () => undefined, report: () => undefined },
);
parts.logger.info({ ...summary }, 'reconciled');
await parts.close();
process.exit(0);
