// Stock that is held for no living saga: the sweep. A run that lives keeps its stock, however old the reservation is.
import { sql } from 'kysely';
import { orderSagaId } from '../domain/saga-contract.ts';
import type { EventStore } from '../event-store/event-store.ts';
import type { RunUnitOfWork } from '../event-store/unit-of-work.ts';
import { releaseHeldStock } from '../inventory/reservations.ts';
import type { Db } from '../platform/database.ts';
import type { SagaRuns } from '../sagas/saga-runs.ts';
import {
  beforeAllIds,
  inPages,
  reconcileContext,
  type Comparison,
  type Difference,
  type Mended,
  type Scope,
} from './difference.ts';
import { holdsNothing, readOrder } from './order-facts.ts';

export type ReservationComparisonDeps = Readonly<{
  db: Db;
  store: EventStore;
  unitOfWork: RunUnitOfWork;
  runs: SagaRuns;
}>;

type HeldRow = Readonly<{
  key: string;
  tenantId: string;
  orderId: string;
  workflowId: string | null;
  status: string | null;
  expiresAt: Date;
}>;

export const compareReservations = (deps: ReservationComparisonDeps): Comparison =>
  async function* find(scope) {
    const pages = inPages(scope, beforeAllIds, async (after, limit) => await readHeld(deps.db, scope, after, limit));
    for await (const page of pages) {
      const running = await deps.runs.runningAmong(page.map(workflowIdOf));
      for (const row of page.filter((held) => !running.has(workflowIdOf(held)))) {
        if ((await deps.runs.look(workflowIdOf(row))).state === 'running') continue;
        const difference = await differenceOf(deps, row);
        if (difference !== undefined) yield difference;
      }
    }
  };

const workflowIdOf = ({ workflowId, orderId }: HeldRow): string => workflowId ?? orderSagaId(orderId);

/** Of an order that has ended or never was, or past its time. The release before wrote no time: a day. */
async function readHeld(db: Db, { graceSeconds }: Scope, after: string, limit: number): Promise<readonly HeldRow[]> {
  const expiresAt = sql`coalesce(reservations.expires_at, reservations.created_at + interval '1 day')`;
  const { rows } = await sql<HeldRow>`
    select reservation_id as key, reservations.tenant_id as "tenantId", reservations.order_id as "orderId",
      workflow_id as "workflowId", orders.status, ${expiresAt} as "expiresAt"
    from reservations left join orders using (order_id)
    where state = 'held' and reservation_id > ${after}::uuid
      -- What an operator left held on purpose has a reference, and is not for us.
      and reservations.settled_by_hand is null
      and reservations.updated_at < now() - make_interval(secs => ${graceSeconds})
      and (${expiresAt} < now() or coalesce(orders.status, 'none') in ('none', 'failed', 'cancelled', 'confirmed'))
    order by reservation_id
    limit ${limit}`.execute(db);
  return rows;
}

async function differenceOf(deps: ReservationComparisonDeps, row: HeldRow): Promise<Difference | undefined> {
  const order = await readOrder(deps.store, row.orderId);
  const ids = { order: row.orderId, reservation: row.key, workflow: workflowIdOf(row), tenant: row.tenantId };
  const status = order?.state.status ?? 'not there';
  if (status === 'confirmed') {
    const is = 'the order is confirmed and its stock is only reserved';
    return { kind: 'reservation-state', ids, is, right: 'a confirmation consumes the reservation, in one transaction' };
  }
  const mend = async (): Promise<Mended> => await release(deps, row);
  if (holdsNothing(order)) {
    const is = `stock is held, the order is ${status} and no run lives`;
    return { kind: 'reservation-held', ids, is, right: 'released', mend };
  }
  // The row was behind its stream.
  if (row.expiresAt > new Date()) return undefined;
  return {
    kind: 'reservation-expired',
    ids,
    is: `stock was held until ${row.expiresAt.toISOString()}, the order is ${status} and no run lives`,
    right: 'released; whatever would still confirm the order is refused and undoes the rest',
    mend,
  };
}

/**
 * Under the reservation's lock, which a confirmation takes too, in the transaction of its event: held means that none has
 * been. Released, it is the tombstone that refuses one (`reservation-gone`), also of a run that is reset meanwhile.
 */
async function release({ store, unitOfWork, runs }: ReservationComparisonDeps, row: HeldRow): Promise<Mended> {
  if ((await runs.look(workflowIdOf(row))).state === 'running') return 'over';
  return await unitOfWork(async (unit) => {
    if (!(await releaseHeldStock(unit, { orderId: row.orderId, context: reconcileContext(row.tenantId) })))
      return 'over';
    const order = await readOrder(store, row.orderId, unit.tx);
    if (order?.state.status === 'confirmed') throw new Error(`order ${row.orderId} is confirmed and holds its stock`);
    return 'mended';
  });
}
