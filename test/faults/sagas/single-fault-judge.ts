// What must be the case of one order after its one fault, read from the tables and from Temporal.
import type { WorkflowHandle } from '@temporalio/client';
import { sql } from 'kysely';
import { expect } from 'vitest';
import type { EventPayload } from '../../../src/domain/catalogue.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, type OrderBooks } from '../../support/books.ts';
import { faultMessage } from '../../support/fault-points.ts';
import { sagaView } from '../../support/parked.ts';
import { eventTypes, eventually, type SagaService } from '../../support/saga-service.ts';
import {
  isOfRefund,
  mustPark,
  productOf,
  stepOf,
  stockOfEach,
  type Run,
  type Scenario,
} from './single-fault-scenarios.ts';

type Judged = Readonly<{ scenario: Scenario; orderId: string }>;

const totalOf = ({ lines }: Scenario): number => lines.reduce((sum, { quantity, price }) => sum + quantity * price, 0);
const isToBePaid = ({ journey }: Scenario): boolean => !['declined', 'out of stock', 'never paid'].includes(journey);

/** Its one undo, or its one step forward, keeps failing: people see which and why, and the rest of it is undone. */
export async function expectParked(service: SagaService, { scenario, orderId }: Judged): Promise<void> {
  const view = await sagaView(service, orderId);
  const parked = isOfRefund(scenario) ? view.refund : view;
  const shown = parked?.steps.find(({ name }) => name === stepOf(scenario));
  expect(shown).toMatchObject({ state: 'parked' });
  // Whatever the order is: a step whose effect has happened may have ended it.
  expect(['NeedsAttention', statusOf[(await service.order(orderId)).status]]).toContain(parked?.status);
  expect(shown?.error).toContain(faultMessage);
  expect(shown?.actions).toContain('retry');
  const books = await eventually(async () => {
    const now = await booksOf(service.parts, orderId);
    // What stands before the parked undo is undone meanwhile.
    const isRest = scenario.activity !== 'undoPayment' || now.reservation === 'released';
    return isRest ? now : undefined;
  });
  expectHeldWhileParked(scenario, books);
}

const statusOf: Readonly<Record<string, string>> = {
  confirmed: 'Confirmed',
  failed: 'Failed',
  cancelled: 'Cancelled',
};

/** Whether the effect of the step that failed has happened all the same. */
const hasTakenEffect = ({ fault: { point } }: Scenario, activity: string): boolean =>
  point === `committed:${activity}` || point === `leaving:${activity}`;

function expectHeldWhileParked(scenario: Scenario, books: OrderBooks): void {
  const { activity, fault } = scenario;
  const took = hasTakenEffect(scenario, activity);
  const charged = isToBePaid(scenario) ? totalOf(scenario) : 0;
  const gaveBack = took || ['begin', 'uncommitted', 'after:refund'].some((place) => fault.point.startsWith(place));
  switch (activity) {
    case 'settlePayment':
      return expect(books).toMatchObject({ status: 'submitted', reservation: 'held', net: charged });
    case 'confirmOrder':
      return expect(books).toMatchObject({
        status: took ? 'confirmed' : 'submitted',
        reservation: took ? 'consumed' : 'held',
        net: charged,
      });
    case 'undoPayment':
      return expect(books).toMatchObject({
        status: 'submitted',
        reservation: 'released',
        net: gaveBack ? 0 : charged,
      });
    case 'releaseInventory':
      return expect(books).toMatchObject({ status: 'submitted', reservation: took ? 'released' : 'held', net: 0 });
    case 'endOrder':
      expect(['submitted', 'failed', 'cancelled']).toContain(books.status);
      return expect(books).toMatchObject({ reservation: 'released', net: 0 });
    case 'refundOrderPayment':
      return expect(books).toMatchObject({
        status: 'confirmed',
        reservation: 'consumed',
        net: gaveBack ? 0 : charged,
      });
    case 'restockOrder':
      return expect(books).toMatchObject({ status: 'confirmed', reservation: took ? 'released' : 'consumed', net: 0 });
    case 'cancelRefundedOrder':
      return expect(books).toMatchObject({ reservation: 'released', net: 0 });
    default:
      throw new Error(`${activity} is given up on, so it is not parked`);
  }
}

export type End = 'confirmed' | 'failed' | 'cancelled';

/** @returns how it ended. @throws where that is no end at all */
export async function expectEnd(service: SagaService, run: Run): Promise<End> {
  const { scenario, orderId, met, parked } = run;
  const { parts } = service;
  const types = await eventTypes(service, orderId);
  const books = await booksOf(parts, orderId);
  const end = books.status as End;
  expect(parked, 'was parked').toBe(met && mustPark(scenario));
  expect(types.join(' ')).toMatch(legalStream(scenario));
  if (end === 'confirmed') {
    expect(isToBePaid(scenario), 'was to be paid').toBe(true);
    expect(books).toEqual({
      status: 'confirmed',
      reservation: 'consumed',
      captures: 1,
      refunds: 0,
      net: totalOf(scenario),
    });
  } else {
    expect(['failed', 'cancelled']).toContain(end);
    expect(books).toMatchObject({ net: 0, refunds: books.captures });
    expect([null, 'released']).toContain(books.reservation);
  }
  await expectReason(service, run, end);
  await expectStock(service, run, end);
  await expectPayment(service, run, books);
  await expectReservation(service, orderId, end);
  await expectRunEnd(service, run, end);
  await expectWay(service, run);
  return end;
}

/** Each once, in the order of an order's life; a request to cancel is never followed by a confirmation or a failure. */
function legalStream({ lines, fault }: Scenario): RegExp {
  const cancelled = String.raw`order\.cancellation_requested order\.cancelled`;
  const byTemporal = fault.kind === 'run is cancelled' ? String.raw`|order\.cancelled` : '';
  const endings = String.raw`order\.failed|order\.confirmed|(order\.confirmed )?${cancelled}${byTemporal}`;
  return new RegExp(String.raw`^order\.created (order\.item_added ){${lines.length}}order\.submitted (${endings})$`);
}

const asPlanned: Readonly<Record<Scenario['journey'], End>> = {
  kept: 'confirmed',
  'changed mind': 'cancelled',
  returned: 'cancelled',
  declined: 'failed',
  'out of stock': 'failed',
  'never paid': 'failed',
};
/** What a limit, not a refusal, gives as the reason: it says that time had passed, as it may on a busy machine. */
const gaveUp = /step-limit-exceeded|payment-unavailable|payment-deadline-passed/;

/** It ends as its journey does, or is cancelled because somebody asked for that, or a limit has passed and says so. */
async function expectReason({ parts }: SagaService, { scenario, orderId }: Run, end: End): Promise<void> {
  const last = (await parts.store.getEvents(orderId)).at(-1);
  const reason = last?.eventType === 'order.failed' ? (last.payload as EventPayload<'order.failed'>).reason : '';
  if (end === 'failed') expect(reason).not.toBe('');
  const wasCancelled = end === 'cancelled' && scenario.fault.kind.includes('cancelled');
  if (!gaveUp.test(reason) && !wasCancelled) expect(end).toBe(asPlanned[scenario.journey]);
}

async function expectStock({ parts }: SagaService, { scenario, orderId }: Run, end: End): Promise<void> {
  for (const [index, { quantity }] of scenario.lines.entries()) {
    const product = await parts.db
      .selectFrom('products')
      .select(['on_hand', 'reserved'])
      .where('product_id', '=', productOf(orderId, index))
      .executeTakeFirstOrThrow();
    expect(product).toEqual({ on_hand: stockOfEach - (end === 'confirmed' ? quantity : 0), reserved: 0 });
  }
}

/** Our log says of the money what the ledger says, each once; what was refunded or voided is closed for good. */
async function expectPayment(service: SagaService, { orderId }: Run, books: OrderBooks): Promise<void> {
  const payments = await service.parts.db
    .selectFrom('payments')
    .select(['payment_id', 'status'])
    .where('order_id', '=', orderId)
    .execute();
  expect(payments.length).toBeLessThanOrEqual(1);
  for (const { payment_id, status } of payments) {
    const all = await eventTypes(service, payment_id);
    const told = all.filter((type) => type !== 'payment.callback_received');
    expect(status).not.toBe('pending');
    if (books.captures === 0) expect(['payment.failed', 'payment.voided']).toContain(told.join(' '));
    else expect(told).toEqual(['payment.completed', ...(books.refunds === 1 ? ['payment.refunded'] : [])]);
  }
}

async function expectReservation(service: SagaService, orderId: string, end: End): Promise<void> {
  const row = await service.parts.db
    .selectFrom('reservations')
    .select('reservation_id')
    .where('order_id', '=', orderId)
    .executeTakeFirst();
  const told = row === undefined ? [] : await eventTypes(service, row.reservation_id);
  // Of a reservation that was closed before it was made nothing is told.
  const legal = end === 'confirmed' ? ['inventory.reserved'] : ['', 'inventory.reserved inventory.released'];
  expect(legal).toContain(told.join(' '));
}

/** The run, and what people are shown of it, says the same as the order. */
async function expectRunEnd(service: SagaService, { scenario, orderId }: Run, end: End): Promise<void> {
  const view = await sagaView(service, orderId);
  expect(view.status).toBe(statusOf[end]);
  const states = [...view.steps, ...(view.refund?.steps ?? [])].map(({ state }) => state);
  expect(states).not.toContain('parked');
  const wasReturned = view.refund !== undefined;
  const ends = { confirmed: ['COMPLETED'], failed: ['FAILED'], cancelled: ['COMPLETED'] }[end];
  const asked = scenario.fault.kind === 'run is cancelled' && end === 'cancelled' && !wasReturned ? ['CANCELLED'] : [];
  const run = await service.parts.temporal.workflow.getHandle(orderSagaId(orderId)).describe();
  expect([...ends, ...asked]).toContain(run.status.name);
}

/**
 * What is undone is undone in reverse: the money before the goods, in our log too, unless its undo was parked and the rest
 * went on without it. And what has begun to move money is never interrupted.
 */
async function expectWay({ parts }: SagaService, { orderId }: Run): Promise<void> {
  const { events } = await parts.temporal.workflow.getHandle(orderSagaId(orderId)).fetchHistory();
  const scheduled = new Map((events ?? []).map((event) => [String(event.eventId), activityOf(event)]));
  const interrupted = (events ?? [])
    .map(({ activityTaskCancelRequestedEventAttributes: asked }) => scheduled.get(String(asked?.scheduledEventId)))
    .filter((activity) => activity === 'chargePayment');
  expect(interrupted, 'is never interrupted').toEqual([]);
  if ([...scheduled.values()].includes('noteParked')) return;
  const { rows } = await sql<{ event_type: string }>`
    select event_type from events
    where event_type in ('payment.refunded', 'payment.voided', 'inventory.released') and (aggregate_id in (
      select payment_id::text from payments where order_id = ${orderId} union all
      select reservation_id::text from reservations where order_id = ${orderId}))
    order by position`.execute(parts.db);
  const undone = rows.map(({ event_type }) => event_type);
  const released = undone.indexOf('inventory.released');
  if (released >= 0) expect(undone.slice(released), 'the money goes back first').toEqual(['inventory.released']);
}

type HistoryEvent = NonNullable<Awaited<ReturnType<WorkflowHandle['fetchHistory']>>['events']>[number];
const activityOf = ({ activityTaskScheduledEventAttributes: scheduled }: HistoryEvent): string | undefined =>
  scheduled?.activityType?.name ?? undefined;
