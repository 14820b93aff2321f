// One order on its journey, and its fault. What happens to it from outside waits for the order to come there, each for
// itself, so that no fault can hold up the rest.
import { sql } from 'kysely';
import { DomainError } from '../../../src/domain/errors.ts';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId, refundOrderId } from '../../../src/domain/saga-contract.ts';
import { changeRows, dueIn } from '../../../src/outbox/lanes.ts';
import { destinations } from '../../../src/sagas/event-routes.ts';
import type { Faults } from '../../support/faults.ts';
import type { HoldPoint } from '../../support/hold-points.ts';
import type { Holds } from '../../support/holds.ts';
import { callback, eventTypes, eventually, metadata, type SagaService } from '../../support/saga-service.ts';
import { expectParked } from './single-fault-judge.ts';
import {
  isFromOutside,
  isOfRefund,
  mustPark,
  productOf,
  stepOf,
  stockOfEach,
  type OutsideFault,
  type Run,
  type Scenario,
} from './single-fault-scenarios.ts';

export type World = Readonly<{
  service: SagaService;
  holds: Holds;
  faults: Faults;
  /** The order stands at its point, or has ended without coming there. Resolves when the worker is dead. */
  killed(reached: boolean): Promise<void>;
}>;

type Ongoing = Readonly<{
  world: World;
  scenario: Scenario;
  orderId: string;
  workflowId: string;
  /** Asked by everybody who waits, and found out a few times in a second. */
  isOver(): Promise<boolean>;
}>;

/** For everything that is waited for: the limits are seconds, but the machine may be busy. */
const patience = 120_000;

/** @returns when the order has ended, and everything from outside has happened */
export async function runScenario(world: World, scenario: Scenario): Promise<Run> {
  const orderId = newId();
  const workflowId = isOfRefund(scenario) ? refundOrderId(orderId) : orderSagaId(orderId);
  const asked = { at: Number.NEGATIVE_INFINITY, answer: Promise.resolve(false) };
  const isOver = async (): Promise<boolean> => {
    if (performance.now() - asked.at > 200) {
      Object.assign(asked, { at: performance.now(), answer: hasEnded(world.service, scenario, orderId) });
    }
    return await asked.answer;
  };
  const run: Ongoing = { world, scenario, orderId, workflowId, isOver };
  const { service, holds, faults } = world;
  const { fault, lines, method, journey } = scenario;
  if (isFromOutside(fault)) holds.hold(workflowId, fault.point);
  else faults.plant(workflowId, fault);
  if (journey === 'changed mind') holds.hold(orderSagaId(orderId), 'begin:confirmOrder');
  if (scenario.callback === 'early') holds.hold(orderSagaId(orderId), 'after:prepare');
  for (const index of lines.keys()) await service.stock(stockOfEach, productOf(orderId, index));
  const items = lines.map((line, index) => ({ productId: productOf(orderId, index), ...line }));
  await service.submit({ orderId, paymentMethod: method, items });
  const [met, parked] = await Promise.all([meetFault(run), untilEnded(run), travel(run), callBack(run)]);
  return { scenario, orderId, met, parked };
}

/** The order's end, or what was asked for is done as well; and the runs that wrote it are closed, so no step is left. */
async function hasEnded(service: SagaService, { journey }: Scenario, orderId: string): Promise<boolean> {
  const types = await eventTypes(service, orderId);
  const isConfirmed = types.includes('order.confirmed');
  const isToBeCancelled = journey === 'returned' || types.includes('order.cancellation_requested');
  const isUndone = types.includes('order.failed') || types.includes('order.cancelled');
  if (!isUndone && (!isConfirmed || isToBeCancelled)) return false;
  const runs = [orderSagaId(orderId), ...(isUndone && isConfirmed ? [refundOrderId(orderId)] : [])];
  for (const workflowId of runs) {
    const { status } = await service.parts.temporal.workflow.getHandle(workflowId).describe();
    if (status.name === 'RUNNING') return false;
  }
  return true;
}

/** @returns false where the order has ended and it did not come to that */
async function comesTo(run: Ongoing, isThere: () => Promise<boolean>): Promise<boolean> {
  return await eventually(async () => {
    // In this order: what is there when the order has ended was there before.
    const ended = await run.isOver();
    if (await isThere()) return true;
    return ended ? false : undefined;
  }, patience);
}

const comesToHold = async (run: Ongoing, workflowId: string, point: HoldPoint): Promise<boolean> =>
  await comesTo(run, async () => run.world.holds.isReached(workflowId, point));

/** @returns whether the saga came to its fault */
async function meetFault(run: Ongoing): Promise<boolean> {
  const { world, scenario, workflowId } = run;
  const { fault } = scenario;
  if (!isFromOutside(fault)) {
    return await comesTo(run, async () => world.faults.isMet(workflowId));
  }
  const reached = await comesToHold(run, workflowId, fault.point);
  if (reached || fault.kind === 'worker is killed') await fromOutside(run, fault, reached);
  world.holds.release(workflowId, fault.point);
  return reached;
}

async function fromOutside(run: Ongoing, { kind }: OutsideFault, reached: boolean): Promise<void> {
  switch (kind) {
    case 'worker is killed':
      return await run.world.killed(reached);
    case 'is cancelled':
      await cancel(run);
      return await cancellationIsHeard(run);
    case 'is cancelled, which the saga hears later':
      return await cancel(run);
    case 'run is cancelled':
      await run.world.service.parts.temporal.workflow.getHandle(run.workflowId).cancel();
      return;
    case 'events come again':
      return await deliverAgain(run);
  }
}

async function cancel({ world: { service }, orderId }: Ongoing): Promise<void> {
  try {
    await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
  } catch (error) {
    // It has ended before.
    if (!(error instanceof DomainError) || error.code !== 'order-ended') throw error;
  }
}

async function cancellationIsHeard({ world: { service }, orderId }: Ongoing): Promise<void> {
  await eventually(async () => {
    const waiting = await service.parts.db
      .selectFrom('outbox')
      .select('id')
      .where('aggregate_id', '=', orderId)
      .where('destination', '=', destinations.temporal)
      .where('state', '=', 'pending')
      .executeTakeFirst();
    return waiting === undefined ? true : undefined;
  }, patience);
}

/** As by a relay that died behind Temporal's and the bus's answers, before it had written down any of them. */
async function deliverAgain({ world: { service }, orderId, workflowId }: Ongoing): Promise<void> {
  const { db } = service.parts;
  await sql`update saga_starts set state = 'starting' where workflow_id = ${workflowId}`.execute(db);
  for (const destination of Object.values(destinations)) {
    await changeRows(db, {
      destination,
      where: sql`outbox.state = 'done' and (outbox.aggregate_id = ${orderId} or outbox.aggregate_id in (
        select payment_id::text from payments where order_id = ${orderId}))`,
      set: sql`state = 'pending', published_at = null, attempts = 0, next_attempt_at = now()`,
      due: dueIn(0),
    });
  }
}

/** What the customer does, whatever becomes of the fault. */
async function travel(run: Ongoing): Promise<void> {
  const { world, scenario, orderId } = run;
  if (scenario.journey === 'changed mind') {
    const reached = await comesToHold(run, orderSagaId(orderId), 'begin:confirmOrder');
    if (reached) {
      await cancel(run);
      await cancellationIsHeard(run);
    }
    world.holds.release(orderSagaId(orderId), 'begin:confirmOrder');
  }
  if (scenario.journey === 'returned') {
    const isConfirmed = async (): Promise<boolean> =>
      (await eventTypes(world.service, orderId)).includes('order.confirmed');
    if (await comesTo(run, isConfirmed)) await cancel(run);
  }
}

/** What the gateway calls back, and when. */
async function callBack(run: Ongoing): Promise<void> {
  const { world, scenario, orderId } = run;
  const { service, holds } = world;
  const when = scenario.callback;
  if (when === undefined || when === 'never') return;
  if (when === 'early') await comesToHold(run, orderSagaId(orderId), 'after:prepare');
  if (when === 'late') await eventually(async () => ((await run.isOver()) ? true : undefined), patience);
  const isAsked = async (): Promise<boolean> => (await paymentOf(run, when === 'early' ? 0 : 1)) !== undefined;
  const asked = when === 'late' ? await isAsked() : await comesTo(run, isAsked);
  const paymentId = await paymentOf(run, 0);
  if (asked && paymentId !== undefined) {
    const given = { orderId, paymentId, outcome: when === 'failed' ? 'failed' : 'completed' } as const;
    const news = [given, ...(when === 'twice' ? [{ ...given, callbackId: newId() }, given] : [])];
    await Promise.all(news.map(async (each) => await callback(service, each)));
  }
  if (when === 'early') holds.release(orderSagaId(orderId), 'after:prepare');
}

async function paymentOf({ world, orderId }: Ongoing, captures: 0 | 1): Promise<string | undefined> {
  const row = await world.service.parts.db
    .selectFrom('payments')
    .select('payment_id')
    .where('order_id', '=', orderId)
    .where('capture_attempts', '>=', captures)
    .executeTakeFirst();
  return row?.payment_id;
}

/** What must get through and does not is parked: an end, too, and then the fault is lifted. @returns whether it was */
async function untilEnded(run: Ongoing): Promise<boolean> {
  const { world, scenario, orderId, workflowId } = run;
  const isOver = async (): Promise<boolean | undefined> => ((await run.isOver()) ? true : undefined);
  const parked = await eventually(async () => {
    if (mustPark(scenario) && (await isParked(run))) return true;
    return (await isOver()) === undefined ? undefined : false;
  }, patience);
  if (!parked) return false;
  await expectParked(world.service, { scenario, orderId });
  world.faults.lift(workflowId);
  await eventually(isOver, patience);
  return true;
}

async function isParked({ world, scenario, workflowId }: Ongoing): Promise<boolean> {
  const row = await world.service.parts.db
    .selectFrom('saga_steps')
    .select('step')
    .where('workflow_id', '=', workflowId)
    .where('step', '=', stepOf(scenario))
    .where('state', '=', 'parked')
    .executeTakeFirst();
  return row !== undefined;
}
