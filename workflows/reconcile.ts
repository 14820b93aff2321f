// Reconciliation as a run: started by its schedule, with its counts as the result in the Web UI.
import { proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { ReconcileActivities, ReconcileInput, ReconcileSummary } from '../src/domain/reconcile-contract.ts';

const { runReconcile } = proxyActivities<ReconcileActivities>({
  // An attempt that died is repeated, and finds what it has mended. The schedule skips its turns meanwhile.
  startToCloseTimeout: '30 minutes',
  heartbeatTimeout: '1 minute',
  retry: { initialInterval: '5s', maximumInterval: '1 minute', maximumAttempts: 5 },
  summary: 'Compare store, orders, money, stock and runs',
});

export async function reconcile(input: ReconcileInput): Promise<ReconcileSummary> {
  const summary = await runReconcile(input);
  const { differences, mended, kinds, notCompared } = summary;
  const lines = [
    ...Object.entries(kinds).map(([kind, count]) => `- ${kind}: ${count}`),
    ...notCompared.map((what) => `- not compared: ${what}`),
  ];
  setCurrentDetails([`**${mended} mended, ${differences} left**`, '', ...lines].join('\n'));
  return summary;
}
