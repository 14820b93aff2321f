// What reconcile finds in stock, money, rows and deliveries; what of it is mended, and how often.
import { sql, type RawBuilder } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { commandContext, newId } from '../../../src/domain/ids.ts';
import { orderSagaId, reservationSeconds } from '../../../src/domain/saga-contract.ts';
import { reserveStock } from '../../../src/inventory/reservations.ts';
import { booksOf } from '../../support/books.ts';
import { closed, reconcileNow, said, startBusyService, terminate, type Reconciled } from '../../support/reconcile.ts';
import { payFor as anyPayment } from '../../support/refunds.ts';
import { callback, eventTypes, eventually, metadata, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startBusyService();
});
afterAll(async () => await service.stop());
beforeEach(async () => await service.stock(100));

const repair = async (): Promise<Reconciled> => await reconcileNow(service, { repair: true });
const report = async (): Promise<Reconciled> => await reconcileNow(service, { repair: false });
/** Every test leaves nothing behind that reconcile would find in the next one. */
afterEach(async () => expect((await report()).findings).toEqual([]));

async function ended(paymentMethod = 'pm_ok'): Promise<string> {
  const orderId = await service.submit({ paymentMethod });
  await service.ended(orderId);
  await closed(service, orderSagaId(orderId));
  return orderId;
}

/** As if a capture had come from somewhere else. */
const payFor = async (orderId: string, method?: string): Promise<string> =>
  await anyPayment(service, { orderId, ...(method === undefined ? {} : { method }) });

const statusOf = async (paymentId: string): Promise<string | undefined> =>
  (await service.parts.gateway.get(paymentId))?.status;

describe('money that is held without an order', () => {
  it.each(['failed', 'not there'])('(%s) is refunded, once, and the log says so', async (order) => {
    const orderId = order === 'failed' ? await ended('pm_declined') : newId();
    const paymentId = await payFor(orderId);
    expect(said(await report(), 'payment')).toEqual([`charge-held ${paymentId} found`]);
    expect(await statusOf(paymentId)).toBe('charged');
    expect(said(await repair(), 'payment')).toEqual([`charge-held ${paymentId} mended`]);
    expect(await service.ledger(orderId)).toMatchObject({ captures: 1, refunds: 1, net: 0 });
    expect(await eventTypes(service, paymentId)).toEqual(['payment.refunded']);
  });

  it('is refunded once by several at the same time', async () => {
    const orderId = newId();
    const paymentId = await payFor(orderId);
    await Promise.all([repair(), repair(), repair()]);
    expect(await service.ledger(orderId)).toMatchObject({ captures: 1, refunds: 1, net: 0 });
    expect(await eventTypes(service, paymentId)).toEqual(['payment.refunded']);
  });

  it('beside the payment of a confirmed order is a person’s to decide', async () => {
    const orderId = await ended();
    const paymentId = await payFor(orderId);
    expect(said(await repair(), 'payment')).toEqual([`charge-doubled ${paymentId} person`]);
    expect(await service.ledger(orderId)).toMatchObject({ captures: 2, refunds: 0, net: 6000 });
    await service.parts.gateway.refund(paymentId, { key: newId(), amount: 3000 });
    // What the person did at the gateway is told for them.
    expect(said(await repair(), 'payment')).toEqual([`payment-event-missing ${paymentId} mended`]);
    expect(await service.ledger(orderId)).toMatchObject({ captures: 2, refunds: 1, net: 3000 });
  });

  it('was refunded by who did not live to say so: only the event is written', async () => {
    const orderId = await ended('pm_declined');
    const paymentId = await payFor(orderId);
    await service.parts.gateway.refund(paymentId, { key: newId(), amount: 3000 });
    expect(said(await repair(), 'payment')).toEqual([`payment-event-missing ${paymentId} mended`]);
    expect(await eventTypes(service, paymentId)).toEqual(['payment.refunded']);
    expect(await service.ledger(orderId)).toMatchObject({ refunds: 1, net: 0 });
  });

  it('may still come, for an order that has ended: the payment is cancelled for good', async () => {
    const orderId = await ended('pm_declined');
    const paymentId = await payFor(orderId, 'pm_pending');
    expect(said(await repair(), 'payment')).toEqual([`payment-open ${paymentId} mended`]);
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    expect(await statusOf(paymentId)).toBe('voided');
    expect(await eventTypes(service, paymentId)).toEqual(['payment.voided', 'payment.callback_received']);
    expect(await service.ledger(orderId)).toMatchObject({ captures: 0, net: 0 });
  });
});

describe('a reservation', () => {
  it('says whose it is, and is held for longer than its saga may take', async () => {
    const orderId = await ended();
    const { rows } = await sql<{ workflow_id: string; seconds: number }>`
      select workflow_id, extract(epoch from expires_at - created_at)::float8 as seconds
      from reservations where order_id = ${orderId}`.execute(service.parts.db);
    const { limits } = service.parts;
    expect(rows).toEqual([{ workflow_id: orderSagaId(orderId), seconds: reservationSeconds(limits) }]);
    expect(rows[0]?.seconds).toBeGreaterThan(2 * limits.stepLimitSeconds + limits.paymentDeadlineSeconds);
  });

  it('for no order is released, once', async () => {
    const orderId = newId();
    const items = [{ productId: 'lamp', quantity: 3 }];
    await service.parts.unitOfWork(
      async (unit) => await reserveStock(unit, { orderId, context: commandContext(metadata) }, items),
    );
    expect(said(await report(), 'order')).toEqual([`reservation-held ${orderId} found`]);
    const both = await Promise.all([repair(), repair()]);
    expect(both.flatMap((one) => said(one, 'order'))).toEqual([`reservation-held ${orderId} mended`]);
    expect(await service.ledger(orderId)).toMatchObject({ onHand: 100, reserved: 0 });
  });

  /** Its time is over, as after three quarters of an hour. */
  async function expire(orderId: string): Promise<void> {
    await sql`update reservations set expires_at = now() - interval '1 second' where order_id = ${orderId}`.execute(
      service.parts.db,
    );
  }
  async function waitingForPayment(): Promise<Readonly<{ orderId: string; paymentId: string }>> {
    const orderId = await service.submit({ paymentMethod: 'pm_pending' });
    return await eventually(async () => {
      const row = await service.parts.db
        .selectFrom('payments')
        .select(['payment_id as paymentId', 'capture_attempts'])
        .where('order_id', '=', orderId)
        .executeTakeFirst();
      return row !== undefined && row.capture_attempts > 0 ? { orderId, paymentId: row.paymentId } : undefined;
    });
  }

  it('whose saga lives is kept, however old it is', async () => {
    const { orderId, paymentId } = await waitingForPayment();
    await expire(orderId);
    expect((await repair()).findings).toEqual([]);
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
  });

  it('that has expired without a living run is released, and the order fails with nothing held', async () => {
    const { orderId, paymentId } = await waitingForPayment();
    await terminate(service, orderSagaId(orderId));
    await expire(orderId);
    expect(said(await repair(), 'order')).toEqual([
      `reservation-expired ${orderId} mended`,
      `saga-gone ${orderId} mended`,
    ]);
    expect(await service.ended(orderId)).toMatchObject({
      status: 'failed',
      failureReason: expect.stringMatching(/^reservation-gone: /) as string,
    });
    expect(await statusOf(paymentId)).toBe('voided');
  });

  it('was released when the payment came late: that is refunded, and nothing is oversold', async () => {
    const { orderId, paymentId } = await waitingForPayment();
    const { runId } = await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).describe();
    await terminate(service, orderSagaId(orderId));
    await expire(orderId);
    // No run may be started, so that only the sweep acts; an operator resets the old one afterwards.
    await service.parts.db.updateTable('saga_starts').set({ repairs: 5 }).where('aggregate_id', '=', orderId).execute();
    expect(said(await repair(), 'order')).toEqual([
      `reservation-expired ${orderId} mended`,
      `saga-gone ${orderId} person`,
    ]);
    await service.stock(0);
    const { temporal, settings } = service.parts;
    await temporal.workflowService.resetWorkflowExecution({
      namespace: settings.temporalNamespace,
      workflowExecution: { workflowId: orderSagaId(orderId), runId },
      reason: 'by the test',
      requestId: newId(),
      workflowTaskFinishEventId: await lastTaskOf(orderId, runId),
    });
    await callback(service, { orderId, paymentId, outcome: 'completed' });
    expect(await service.ended(orderId)).toMatchObject({
      status: 'failed',
      failureReason: expect.stringMatching(/^reservation-gone: /) as string,
    });
    expect(await booksOf(service.parts, orderId)).toEqual({
      status: 'failed',
      reservation: 'released',
      captures: 1,
      refunds: 1,
      net: 0,
    });
  });

  /** Where an operator would set it back to: the last workflow task that was completed. */
  async function lastTaskOf(orderId: string, runId: string) {
    const { events } = await service.parts.temporal.workflow.getHandle(orderSagaId(orderId), runId).fetchHistory();
    const completed = (events ?? []).findLast((event) => event.workflowTaskCompletedEventAttributes);
    return completed?.eventId ?? null;
  }
});

describe('an orders row that was changed by hand', () => {
  it('is projected again from its stream, lines and payment too', async () => {
    const orderId = await ended();
    const before = await eventually(async () => {
      const order = await service.order(orderId);
      return order.paidAt === undefined ? undefined : order;
    });
    const { db } = service.parts;
    await sql`update orders set status = 'submitted', total = 1, payment_id = null where order_id = ${orderId}`.execute(
      db,
    );
    await sql`update order_items set quantity = 7 where order_id = ${orderId}`.execute(db);
    const found = await report();
    expect(said(found, 'order')).toEqual([`order-row ${orderId} found`]);
    expect(found.findings[0]?.is).toContain('status, total, payment_id, items');
    await repair();
    expect({ ...(await service.order(orderId)), updatedAt: '' }).toEqual({ ...before, updatedAt: '' });
  });

  it('and even deleted, is made again', async () => {
    const orderId = await ended();
    const before = await eventually(async () => {
      const order = await service.order(orderId);
      return order.paidAt === undefined ? undefined : order;
    });
    await service.parts.db.deleteFrom('orders').where('order_id', '=', orderId).execute();
    expect(said(await repair(), 'order')).toEqual([`order-row ${orderId} mended`]);
    const { status, paymentId, paidAt, items, version } = await service.order(orderId);
    expect({ status, paymentId, paidAt, items, version }).toEqual({
      status: before.status,
      paymentId: before.paymentId,
      paidAt: before.paidAt,
      items: before.items,
      version: before.version,
    });
  });
});

describe('what needs a person', () => {
  it('is a counter of stock that does not fit the reservations', async () => {
    const { db } = service.parts;
    await sql`update products set reserved = reserved + 4 where product_id = 'lamp'`.execute(db);
    const found = await repair();
    expect(said(found, 'product')).toEqual(['stock-counter lamp person']);
    expect(found.findings[0]?.is).toBe('4 are counted as reserved, held reservations have 0');
    await sql`update products set reserved = reserved - 4 where product_id = 'lamp'`.execute(db);
  });

  /** As after a restored dump, or by a superuser: the ledger's own triggers refuse it. */
  const pastTheRules = async (change: RawBuilder<unknown>): Promise<void> => {
    await service.parts.db.transaction().execute(async (tx) => {
      await sql`set local session_replication_role = replica`.execute(tx);
      await change.execute(tx);
    });
  };

  it('is a ledger that says otherwise than the payment', async () => {
    const orderId = await ended();
    const { paymentId = '' } = await service.order(orderId);
    await pastTheRules(sql`update ledger_entries set amount = 2999 where payment_id = ${paymentId}`);
    expect(said(await repair(), 'payment')).toEqual([`ledger ${paymentId} person`]);
    const swapped = sql`debit_account = credit_account, credit_account = debit_account`;
    await pastTheRules(sql`update ledger_entries set amount = 3000, ${swapped} where payment_id = ${paymentId}`);
    const crossed = await repair();
    expect(said(crossed, 'payment')).toEqual([`ledger ${paymentId} person`]);
    expect(crossed.findings[0]?.is).toContain('between the wrong accounts');
    await pastTheRules(sql`update ledger_entries set ${swapped} where payment_id = ${paymentId}`);
  });

  it('is a confirmed order whose reservation was not consumed', async () => {
    const orderId = await ended();
    const { db } = service.parts;
    await sql`update reservations set state = 'released' where order_id = ${orderId}`.execute(db);
    expect(said(await repair(), 'order')).toEqual([`reservation-state ${orderId} person`]);
    await sql`update reservations set state = 'consumed' where order_id = ${orderId}`.execute(db);
  });

  it('is an event without its delivery, and a dead letter', async () => {
    const orderId = await ended();
    const { db } = service.parts;
    await eventually(async () => {
      const open = await db.selectFrom('outbox').select('id').where('state', '=', 'pending').execute();
      return open.length === 0 ? true : undefined;
    });
    const kept = await sql<{ id: string }>`
      update outbox set state = 'dead', last_error = 'two\nlines' where aggregate_id = ${orderId}
        and event_type = 'order.created' returning id`.execute(db);
    const dead = await repair();
    expect(said(dead, 'event')).toEqual([`dead-letter ${kept.rows[0]?.id} person`]);
    await sql`update outbox set state = 'done', published_at = now() where state = 'dead'`.execute(db);
    const gone = await db
      .deleteFrom('outbox')
      .where('aggregate_id', '=', orderId)
      .where('event_type', '=', 'order.submitted')
      .where('destination', '=', 'bus')
      .returningAll()
      .executeTakeFirstOrThrow();
    expect(said(await repair(), 'destination')).toEqual(['delivery-missing bus person']);
    const { published: _, payload, metadata: meta, ...row } = gone;
    await db
      .insertInto('outbox')
      .values({ ...row, payload: JSON.stringify(payload), metadata: JSON.stringify(meta) })
      .execute();
  });
});
