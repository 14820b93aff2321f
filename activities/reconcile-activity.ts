// The one step of the reconcile workflow: says that it lives with every page, and stops between two of them.
import { Context } from '@temporalio/activity';
import type { ReconcileActivities, ReconcileInput, ReconcileSummary } from '../src/domain/reconcile-contract.ts';

/** May be ended at any page and begun again. @throws what `onPage` throws */
export type RunReconcile = (input: ReconcileInput, onPage: () => void) => Promise<ReconcileSummary>;

export function createReconcileActivities(run: RunReconcile): ReconcileActivities {
  return {
    runReconcile: async (input) => {
      const { heartbeat, cancellationSignal } = Context.current();
      return await run(input, () => {
        cancellationSignal.throwIfAborted();
        heartbeat();
      });
    },
  };
}
