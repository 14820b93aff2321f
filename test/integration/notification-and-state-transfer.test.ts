// Two kinds of events. One carries what its reader needs, and is enough; the other says that there is news, and its
// reader asks whoever knows.
import { sql } from 'kysely';
import { afterEach, describe, expect, it } from 'vitest';
import { newId } from '../../src/domain/ids.ts';
import { startRelay } from '../../src/processes/relay.ts';
import {
  eventTypes,
  eventually,
  metadata,
  startSagaService,
  untilPaymentIsPending,
  type SagaService,
} from '../support/saga-service.ts';

const cleanUps: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp();
});
async function serviceWith(options: Readonly<{ relay: boolean }>): Promise<SagaService> {
  const service = await startSagaService(options);
  cleanUps.push(async () => await service.stop());
  await service.stock(5);
  return service;
}

describe('order.submitted carries the state', () => {
  it('so the saga runs from the event alone, whatever has become of the order’s row meanwhile', async () => {
    const service = await serviceWith({ relay: false });
    const { db } = service.parts;
    const orderId = await service.submit();
    await sql`
      update orders set total = 1, currency = 'USD', customer_id = 'somebody-else', payment_method = 'pm_declined'
      where order_id = ${orderId}`.execute(db);
    await sql`delete from order_items where order_id = ${orderId}`.execute(db);
    const relay = startRelay(service.parts);
    cleanUps.push(async () => await relay.stop());
    await eventually(async () => ((await eventTypes(service, orderId)).includes('order.confirmed') ? true : undefined));
    expect(await service.ledger(orderId)).toEqual({ onHand: 3, reserved: 0, net: 3000, captures: 1, refunds: 0 });
    const payment = db.selectFrom('payments').select(['amount', 'currency', 'method']).where('order_id', '=', orderId);
    expect(await payment.execute()).toEqual([{ amount: 3000, currency: 'EUR', method: 'pm_ok' }]);
  });
});

describe('payment.callback_received is a notification', () => {
  /** The event alone, which the gateway knows nothing of. */
  const claim = async (
    { parts }: SagaService,
    of: Readonly<{ orderId: string; paymentId: string }>,
    outcome: 'completed' | 'failed',
  ): Promise<unknown> =>
    await parts.store.append({
      eventId: newId(),
      eventType: 'payment.callback_received',
      occurredAt: new Date(),
      aggregateId: of.paymentId,
      aggregateType: 'payment',
      payload: { ...of, outcome, callbackId: newId() },
      metadata,
    });

  it('so one that says completed confirms nothing while the gateway says pending, nor does failed fail a charge', async () => {
    const service = await serviceWith({ relay: true });
    let asked = 0;
    service.faults.get = async () => await Promise.resolve(void (asked += 1));
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    const of = { orderId, paymentId: await untilPaymentIsPending(service, orderId) };
    // It asks again only where it still waits after the time before.
    for (const times of [1, 2, 3]) {
      await claim(service, of, 'completed');
      await eventually(async () => await Promise.resolve(asked >= times ? true : undefined));
    }
    const told = await eventTypes(service, of.paymentId);
    expect(told).toEqual(told.map(() => 'payment.callback_received'));
    expect(await service.order(of.orderId)).toMatchObject({ status: 'submitted' });
    expect(await service.ledger(of.orderId)).toMatchObject({ captures: 0 });

    // What is the case by now, and an event that says the opposite.
    await service.parts.unitOfWork(async ({ tx }) => {
      const truth = { ...of, outcome: 'completed', amount: 3000, currency: 'EUR', reason: undefined } as const;
      await service.parts.gateway.acceptCallback(tx, truth);
    });
    await claim(service, of, 'failed');
    expect(await service.ended(of.orderId)).toMatchObject({ status: 'confirmed', paymentId: of.paymentId });
    expect(await service.ledger(of.orderId)).toMatchObject({ net: 3000, captures: 1 });
  });
});
