// What a saga writes down about a step that is parked, and what an operator's decision means for money and stock.
import { activityInfo } from '@temporalio/activity';
import type { EventOf } from '../src/domain/catalogue.ts';
import type { EventContext } from '../src/domain/event.ts';
import { derivedId, sagaStreamId, stepContext } from '../src/domain/ids.ts';
import type { OrderActivities, ResolutionInput } from '../src/domain/saga-contract.ts';
import type { RunUnitOfWork } from '../src/event-store/unit-of-work.ts';
import { settleByHand } from '../src/inventory/reservations.ts';
import { bookSettlement, explainPayment, listPayments, lockPayment } from '../src/payments/ledger-rows.ts';
import type { Db, Tx } from '../src/platform/database.ts';
import { writeParked, writeResolution } from './step-rows.ts';

export type AttentionStepDeps = Readonly<{ db: Db; unitOfWork: RunUnitOfWork }>;
type AttentionSteps = Pick<OrderActivities, 'noteParked' | 'applyResolution'>;

type ByHand = Readonly<{ action: 'skip' | 'settled'; reference: string }>;
type Settle = (tx: Tx, of: Readonly<{ orderId: string; context: EventContext }>, byHand: ByHand) => Promise<void>;

/** By step: whose books change when it is ended by hand. Steps without a line may only be retried. */
const settleOf: Readonly<Record<string, Settle>> = {
  reserve: settleByHand,
  charge: settlePayments,
  refund: settlePayments,
  restock: settleByHand,
};

export function createAttentionSteps({ db, unitOfWork }: AttentionStepDeps): AttentionSteps {
  return {
    noteParked: async ({ step, undoing, byHand, error }) => {
      const since = new Date(activityInfo().scheduledTimestampMs);
      await writeParked(db, { workflowId: thisWorkflow(), name: step }, { undoing, byHand, error, since });
    },

    applyResolution: async (input) => {
      const workflowId = thisWorkflow();
      const { step, action, orderId, metadata } = input;
      const causedBy = input.requestId === null ? metadata : { ...metadata, causationId: input.requestId };
      const context = stepContext(causedBy, workflowId, step);
      await unitOfWork(async (unit) => {
        await unit.append(appliedEvent(workflowId, input, context));
        // The saga is told to try again by its own workflow.
        if (action === 'retry') return;
        const reference = input.reference ?? 'none';
        if (orderId !== null) await settleOf[step]?.(unit.tx, { orderId, context }, { action, reference });
        await writeResolution(unit.tx, { workflowId, name: step }, resolved(input, action));
      });
    },
  };
}

const thisWorkflow = (): string => activityInfo().workflowExecution?.workflowId ?? 'none';

/** Skipped, an undo has left the step done, and a step that goes forward has not been done. */
function resolved(
  { undoing, reference, resolvedBy }: ResolutionInput,
  action: 'skip' | 'settled',
): Parameters<typeof writeResolution>[2] {
  const word = action === 'skip' ? 'skipped' : 'settled by hand';
  const resolution = `${word} by ${resolvedBy}: ${reference ?? 'no reference'}`;
  if (action === 'skip') return { state: undoing ? 'done' : 'refused', resolution };
  return { state: undoing ? 'undone' : 'done', resolution };
}

function appliedEvent(
  workflowId: string,
  { orderId, step, action, reference, resolvedBy, resolutionId }: ResolutionInput,
  { metadata, now }: EventContext,
): EventOf<'saga.resolution_applied'> {
  return {
    eventId: derivedId('resolution', workflowId, resolutionId),
    eventType: 'saga.resolution_applied',
    occurredAt: now(),
    aggregateId: sagaStreamId(workflowId),
    aggregateType: 'saga',
    payload: { orderId, workflowId, step, action, reference, resolvedBy },
    metadata,
  };
}

/** All of the order's: it has one payment, and whatever else there should be is part of what was settled. */
async function settlePayments(
  tx: Tx,
  { orderId, context }: Readonly<{ orderId: string; context: EventContext }>,
  { action, reference }: ByHand,
): Promise<void> {
  for (const { paymentId } of await listPayments(tx, context.metadata.tenantId, orderId)) {
    const row = await lockPayment(tx, paymentId);
    await (action === 'settled' ? bookSettlement : explainPayment)(tx, row, reference);
  }
}
