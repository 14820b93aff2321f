// A program for the fault tests: the role `relay` as it is, over a Temporal client that logs each start
// and holds around it.
import { readSettings } from '../../src/platform/config.ts';
import { listenForStop, runUntilStopped, stopAll } from '../../src/platform/lifecycle.ts';
import { withDeadline } from '../../src/platform/temporal-client.ts';
import { createParts } from '../../src/processes/parts.ts';
import { startRelay } from '../../src/processes/relay.ts';
import { passHold } from './hold-points.ts';

const stop = listenForStop();
const settings = readSettings('relay');
const parts = createParts(settings, { role: 'relay', runsLoops: true });
const { workflow } = parts.temporal;
const start = workflow.start.bind(workflow) as (...args: unknown[]) => Promise<unknown>;
Object.assign(workflow, {
  start: async (name: string, options: Readonly<{ workflowId: string }>) => {
    parts.logger.info({ workflowId: options.workflowId }, 'start call');
    await passHold(options.workflowId, 'before:start');
    // The time that the call had is spent in the hold.
    const handle = await withDeadline(parts.temporal, 5_000, async () => await start(name, options));
    await passHold(options.workflowId, 'after:start');
    return handle;
  },
});
const relay = startRelay(parts);
parts.logger.info('started');
await runUntilStopped(
  { stop: async () => await stopAll([relay, { stop: parts.close }]) },
  { stop, graceSeconds: settings.shutdownGraceSeconds + 5, logger: parts.logger },
);
process.exit(0);
