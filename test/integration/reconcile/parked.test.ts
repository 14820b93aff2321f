// What a person decides, or has still to decide, and what reconcile leaves to them.
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { DomainError } from '../../../src/domain/errors.ts';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { parkedRefund, parksAtOnce, resolve, untilParked } from '../../support/parked.ts';
import {
  createStuckSteps,
  reconcileNow,
  said,
  startBusyService,
  terminate,
  type Reconciled,
} from '../../support/reconcile.ts';
import { eventTypes, eventually, metadata, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startBusyService({ environment: parksAtOnce });
  await service.stock(100);
});
afterAll(async () => await service.stop());
afterEach(async () => {
  delete service.faults.refund;
  await eventually(async () => ((await repair()).findings.length === 0 ? true : undefined));
});

const repair = async (): Promise<Reconciled> => await reconcileNow(service, { repair: true });
const refused = new DomainError('refund-exceeds-held', 'this card takes no refunds');

/** Temporal's list is a moment late. */
async function listed(orderId: string): Promise<void> {
  const expected = [`needs-attention ${orderSagaId(orderId)} person`];
  await eventually(async () => {
    const { findings } = await repair();
    return findings.length > 0 ? true : undefined;
  });
  expect(said(await repair(), 'workflow')).toEqual(expected);
}

it.each([
  { action: 'skip', net: 3000, status: 'charged' },
  { action: 'settled', net: 0, status: 'refunded' },
] as const)('a parked run is a person’s; what they $action is left as they wanted it', async ({ action, ...left }) => {
  const orderId = await parkedRefund(service, refused);
  await listed(orderId);
  const start = service.parts.db.selectFrom('saga_starts').select('repairs').where('aggregate_id', '=', orderId);
  expect(await start.execute()).toEqual([{ repairs: 0 }]);

  await resolve(service, orderId, { step: 'charge', action, reference: 'ticket 7' });
  expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
  delete service.faults.refund;
  await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).result();
  await eventually(async () => ((await repair()).findings.length === 0 ? true : undefined));
  const payment = await service.parts.db
    .selectFrom('payments')
    .select(['payment_id', 'status', 'settled_by_hand'])
    .where('order_id', '=', orderId)
    .executeTakeFirstOrThrow();
  expect(payment).toMatchObject({ status: left.status, settled_by_hand: 'ticket 7' });
  expect(await service.ledger(orderId)).toMatchObject({ net: left.net, refunds: 0 });
  expect(await eventTypes(service, payment.payment_id)).not.toContain('payment.refunded');
});

it('a repair that has to undo what the first run did, and cannot, is parked and dealt with like the first', async () => {
  const steps = createStuckSteps(service);
  const orderId = newId();
  steps.hold(orderId, 'confirmOrder');
  await service.submit({ orderId });
  await steps.reached(orderId, 'confirmOrder');
  await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
  await terminate(service, orderSagaId(orderId));
  steps.free(orderId, 'confirmOrder');
  service.faults.refund = async () => await Promise.reject(refused);
  expect(said(await repair(), 'order')).toContain(`saga-gone ${orderId} mended`);
  await untilParked(service, orderSagaId(orderId), 'charge');
  await listed(orderId);
  await resolve(service, orderId, { step: 'charge', action: 'skip', reference: 'ticket 8' });
  expect(await service.ended(orderId)).toMatchObject({ status: 'cancelled' });
  expect(await service.ledger(orderId)).toMatchObject({ net: 3000, captures: 1, refunds: 0, reserved: 0 });
});
