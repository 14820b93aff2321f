// The schedule that runs reconcile: made by workers, once; its runs show what they have found.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  ensureReconcileSchedule,
  keepReconcileSchedule,
  reconcileScheduleId,
} from '../../../src/processes/reconcile-schedule.ts';
import { readSettings } from '../../../src/platform/config.ts';
import { createParts } from '../../../src/processes/parts.ts';
import { startBusyService } from '../../support/reconcile.ts';
import { payFor } from '../../support/refunds.ts';
import { services } from '../../support/services.ts';
import { eventually, type SagaService } from '../../support/saga-service.ts';
import { startTcpProxy } from '../../support/tcp-proxy.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startBusyService();
  await service.stock(10);
});
afterAll(async () => {
  await schedule().delete();
  await service.stop();
});

const scheduleId = (): string => reconcileScheduleId(service.parts.settings.temporalTaskQueue);
const schedule = () => service.parts.temporal.schedule.getHandle(scheduleId());

/** A run that a trigger has started, once it has ended. */
async function triggered() {
  const before = (await schedule().describe()).info.recentActions.length;
  await schedule().trigger();
  const runs = await eventually(async () => {
    const { recentActions } = (await schedule().describe()).info;
    return recentActions.length > before ? recentActions : undefined;
  });
  const action = runs.at(-1)?.action;
  const { workflowId, firstExecutionRunId } = action?.workflow ?? { workflowId: '', firstExecutionRunId: '' };
  return service.parts.temporal.workflow.getHandle(workflowId, firstExecutionRunId);
}

describe('the schedule of reconcile', () => {
  it('is made once Temporal answers, by whichever worker, and is the same when it is made again', async () => {
    const [host = '', port = ''] = services().temporalAddress.split(':');
    const proxy = await startTcpProxy({ host, port: Number(port) });
    proxy.cut();
    const environment = { ...service.environment, TEMPORAL_ADDRESS: `127.0.0.1:${proxy.port}` };
    const away = createParts(readSettings('worker', environment), { role: 'test', runsLoops: false });
    const keeping = keepReconcileSchedule(away);
    proxy.mend();
    const first = await eventually(
      async () =>
        await schedule()
          .describe()
          .catch(() => undefined),
    );
    await keeping.stop();
    await away.close();
    await proxy.close();
    expect(first.spec.intervals).toMatchObject([{ every: 300_000 }]);
    expect(first.policies.overlap).toBe('SKIP');

    await Promise.all([ensureReconcileSchedule(service.parts), ensureReconcileSchedule(service.parts)]);
    expect(await schedule().describe()).toMatchObject({ spec: first.spec, action: first.action, state: first.state });
  });

  it('that somebody has paused stays paused', async () => {
    await schedule().pause('while we look');
    await ensureReconcileSchedule(service.parts);
    expect((await schedule().describe()).state).toMatchObject({ paused: true, note: 'while we look' });
  });

  it('starts a run that mends what is safe, with the counts as its result and in its details', async () => {
    // Every five minutes by the clock it starts a run of its own: not while this test counts what its own have done.
    await schedule().pause();
    await eventually(async () => ((await schedule().describe()).info.runningActions.length === 0 ? true : undefined));
    const { db, gateway } = service.parts;
    const paymentId = await payFor(service, { amount: 700 });
    await sql`update payments set updated_at = now() - interval '2 minutes' where payment_id = ${paymentId}`.execute(
      db,
    );
    const run = await triggered();
    expect(await run.result()).toEqual({ differences: 0, mended: 1, kinds: { 'charge-held': 1 }, notCompared: [] });
    expect(await gateway.get(paymentId)).toMatchObject({ status: 'refunded', refunded: 700 });
    const again = await triggered();
    expect(await again.result()).toEqual({ differences: 0, mended: 0, kinds: {}, notCompared: [] });
  });
});
