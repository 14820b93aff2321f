// The comparisons over their collaborators, for the command and for the worker.
import type { RunReconcile } from '../../activities/reconcile-activity.ts';
import type { ReconcileSummary } from '../domain/reconcile-contract.ts';
import { createOrderCommands } from '../orders/order-commands.ts';
import { compareAttention, compareDeliveries } from '../reconcile/compare-deliveries.ts';
import { compareLedger } from '../reconcile/compare-ledger.ts';
import { comparePayments } from '../reconcile/compare-payments.ts';
import { compareRefunds } from '../reconcile/compare-refunds.ts';
import { compareReservations } from '../reconcile/compare-reservations.ts';
import { compareRows } from '../reconcile/compare-rows.ts';
import { compareSagas } from '../reconcile/compare-sagas.ts';
import { compareVerifications } from '../reconcile/compare-verifications.ts';
import { reconcile, type Comparisons, type ReconcileOptions } from '../reconcile/reconcile.ts';
import { lineOf } from '../reconcile/report.ts';
import { createSagaClient } from '../sagas/saga-client.ts';
import { createSagaRuns } from '../sagas/saga-runs.ts';
import { createSagaStarts } from '../sagas/saga-starts.ts';
import type { Parts } from './parts.ts';

export const defaultGraceSeconds = 60;

/**
 * Rows first, since the others suspect by them. Then stock whose time is over, so that a saga which is repaired after it
 * is refused instead of fulfilled late; then sagas, and then the money of orders that have ended.
 */
function comparisonsOf(parts: Parts): Comparisons {
  const { db, store, codec, routes, unitOfWork, gateway, temporal, settings, repository, limits, verification } = parts;
  const taskQueue = settings.temporalTaskQueue;
  const runs = createSagaRuns({ client: temporal, taskQueue });
  const client = createSagaClient({ client: temporal, taskQueue });
  const restarts = { runs, client, starts: createSagaStarts(db) };
  const orders = createOrderCommands({ repository });
  return {
    rows: compareRows({ db, store, codec }),
    reservations: compareReservations({ db, store, unitOfWork, runs }),
    sagas: compareSagas({ ...restarts, db, store, orders, limits }),
    refunds: compareRefunds({ ...restarts, db, store, gateway, limits }),
    verifications: compareVerifications({ ...restarts, db, store, verification }),
    payments: comparePayments({ db, store, unitOfWork, gateway, runs }),
    ledger: compareLedger({ db }),
    deliveries: compareDeliveries({ db, routes }),
    attention: compareAttention({ runs }),
  };
}

export async function reconcileParts(parts: Parts, options: ReconcileOptions): Promise<ReconcileSummary> {
  return await reconcile(comparisonsOf(parts), options);
}

/** What it finds is in the worker's log, too: the run's result has the counts only. */
export function reconcileInWorker(parts: Parts): RunReconcile {
  const { logger } = parts;
  return async ({ repair, sinceHours }, onPage) => {
    const report: ReconcileOptions['report'] = (finding) => {
      logger[finding.outcome === 'mended' ? 'info' : 'warn']({ kind: finding.kind, ...finding.ids }, lineOf(finding));
    };
    const summary = await reconcileParts(parts, {
      repair,
      sinceHours,
      graceSeconds: defaultGraceSeconds,
      onPage,
      report,
    });
    logger.info({ ...summary }, 'reconciled');
    return summary;
  };
}
