// Sagas that get stuck while they undo: how to bring one there, and what can be seen of it.
import { orderSagaId } from '../../src/domain/saga-contract.ts';
import type { ResolveMessage } from '../../src/domain/saga-resolution.ts';
import { createSagaResolutions, type ResolutionRequest } from '../../src/sagas/saga-resolutions.ts';
import { createSagaViews, type SagaView } from '../../src/sagas/saga-view.ts';
import { untilCancellationIsTold } from './delivery-books.ts';
import { createHold, eventually, metadata, type SagaService } from './saga-service.ts';

/** Parked after a second; nothing but an operator ends that within a test. */
export const parksAtOnce = { PARK_AFTER_SECONDS: '1', PARKED_RETRY_SECONDS: '3600' };

/** An order that was charged, and then cancelled before it could be confirmed. */
export async function submitAndCancelWhenCharged(service: SagaService): Promise<string> {
  const hold = createHold();
  service.faults.afterCapture = async () => {
    delete service.faults.afterCapture;
    await hold.wait();
  };
  const orderId = await service.submit();
  await hold.reached;
  await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
  // The saga knows of it: otherwise the order's stream refuses the confirmation, which is another path.
  await untilCancellationIsTold(service.parts, orderId);
  hold.release();
  return orderId;
}

export async function untilParked({ parts }: SagaService, workflowId: string, step: string): Promise<void> {
  await eventually(async () => {
    const row = await parts.db
      .selectFrom('saga_steps')
      .select('state')
      .where('workflow_id', '=', workflowId)
      .where('step', '=', step)
      .executeTakeFirst();
    return row?.state === 'parked' ? true : undefined;
  });
}

/** Its refund fails with `error` until the fault is taken away; it is parked with that. */
export async function parkedRefund(service: SagaService, error: Error): Promise<string> {
  service.faults.refund = async () => {
    throw error;
  };
  const orderId = await submitAndCancelWhenCharged(service);
  await untilParked(service, orderSagaId(orderId), 'charge');
  return orderId;
}

/** What POST /orders/{id}/saga/resolve does. */
export async function resolve(
  service: SagaService,
  orderId: string,
  request: Pick<ResolutionRequest, 'step' | 'action'> & Readonly<{ reference?: string; eventId?: string }>,
): Promise<void> {
  const { step, action, reference, eventId } = request;
  const order = await service.order(orderId);
  const word = { step, action, reference, resolvedBy: 'ada' };
  await createSagaResolutions(service.parts).request(order, word, metadata, eventId);
}

/** What an operator types in the Web UI. */
export async function signalByHand(
  service: SagaService,
  workflowId: string,
  word: ResolveMessage | string,
): Promise<void> {
  await service.parts.temporal.workflow.getHandle(workflowId).signal('resolve', word);
}

export async function sagaView({ parts }: SagaService, orderId: string): Promise<SagaView> {
  const views = createSagaViews({ db: parts.db, client: parts.temporal, uiUrl: 'http://ui', namespace: 'default' });
  const view = await views.find('default', orderId);
  if (view === undefined) throw new Error(`the order ${orderId} has no saga`);
  return view;
}

/** The run's details, as the Web UI asks for them. */
export async function detailsOf({ parts }: SagaService, workflowId: string): Promise<string> {
  const { currentDetails } = await parts.temporal.workflow
    .getHandle(workflowId)
    .query<{ currentDetails?: string }>('__temporal_workflow_metadata');
  return currentDetails ?? '';
}
