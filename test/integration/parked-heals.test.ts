// A parked step heals by itself, at the pace of the defaults: minutes, on the time-skipping server.
import { activityInfo } from '@temporalio/activity';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DomainError, UnavailableError } from '../../src/domain/errors.ts';
import { newId } from '../../src/domain/ids.ts';
import { orderSagaId } from '../../src/domain/saga-contract.ts';
import { sagaView } from '../support/parked.ts';
import { metadata, type SagaService } from '../support/saga-service.ts';
import { startTimeSkippingService, type TimeSkippingService } from '../support/time-skipping-service.ts';

let skipping: TimeSkippingService;
let service: SagaService;
beforeAll(async () => {
  // No limits of parking: the defaults, as a saga has them that was started before there were any.
  skipping = await startTimeSkippingService({ paymentDeadlineSeconds: 60, stepLimitSeconds: 60 });
  ({ service } = skipping);
});
beforeEach(async () => await service.stock(5));
afterEach(() => {
  for (const name of ['unitOfWork', 'afterCapture', 'refund'] as const) delete service.faults[name];
});
afterAll(async () => await skipping.stop());

/** To the saga's end. */
async function run(orderId: string): Promise<void> {
  await service.submit({ orderId });
  await skipping.deliver(orderId, 'order.submitted');
  await skipping.environment.client.workflow.result(orderSagaId(orderId));
}

/** By the time that it is charged, the order is cancelled; then what is asked of the refund is up to `refund`. */
function refundBy(orderId: string, refund: () => Promise<void>): void {
  service.faults.refund = refund;
  service.faults.afterCapture = async () => {
    await service.commands.cancel(orderId, 'too slow', 'customer', metadata);
  };
}

const statusOf = async (orderId: string): Promise<string> => (await sagaView(service, orderId)).status;

describe('a parked step', () => {
  it('is tried once a minute, does not grow the history, and ends the saga when it works', async () => {
    const orderId = newId();
    const slowlyTried = 20;
    const seen: string[] = [];
    refundBy(orderId, async () => {
      seen.push(await statusOf(orderId));
      const slow = seen.filter((status) => status === 'NeedsAttention').length;
      if (slow <= slowlyTried) throw new UnavailableError('the gateway is away');
    });
    await run(orderId);
    // Two minutes at most 10 s apart, before that.
    expect(seen.length - slowlyTried).toBeGreaterThan(10);
    expect(await service.ledger(orderId)).toEqual({ onHand: 5, reserved: 0, net: 0, captures: 1, refunds: 1 });
    const { events } = await skipping.environment.client.workflow.getHandle(orderSagaId(orderId)).fetchHistory();
    expect(events?.length).toBeLessThan(80);
    const seconds = (event = events?.[0]): number => Number(event?.eventTime?.seconds);
    expect(seconds(events?.at(-1)) - seconds()).toBeGreaterThanOrEqual(100 + slowlyTried * 60);
  });

  it.each(['this card takes no refunds', 'words that PostgreSQL does not take: \u0000'])(
    'that was refused for good was parked at once, not tried fast (%j)',
    async (words) => {
      const orderId = newId();
      const seen: string[] = [];
      refundBy(orderId, async () => {
        seen.push(await statusOf(orderId));
        if (seen.length === 1) throw new DomainError('refund-exceeds-held', words);
      });
      await run(orderId);
      expect(seen).toEqual(['Compensating', 'NeedsAttention']);
    },
  );

  it('that cannot be noted is tried all the same', async () => {
    await sql`
      create function take_no_note() returns trigger language plpgsql as $$ begin raise 'no note'; end $$`.execute(
      service.parts.db,
    );
    await sql`
      create trigger take_no_note before insert or update on saga_steps
      for each row when (new.state = 'parked') execute function take_no_note()`.execute(service.parts.db);
    const orderId = newId();
    let asked = 0;
    refundBy(orderId, async () => {
      asked += 1;
      if (asked === 1) throw new DomainError('refund-exceeds-held', 'this card takes no refunds');
    });
    try {
      await run(orderId);
    } finally {
      await sql`drop function take_no_note cascade`.execute(service.parts.db);
    }
    expect(asked).toBe(2);
    expect(await service.ledger(orderId)).toMatchObject({ net: 0, captures: 1, refunds: 1 });
  });

  it('is shown as parked while it is tried, forward too, and no longer than that', async () => {
    const orderId = newId();
    const seen: string[] = [];
    service.faults.unitOfWork = async () => {
      if (activityInfo().activityType !== 'confirmOrder') return;
      seen.push(await statusOf(orderId));
      if (seen.filter((status) => status === 'NeedsAttention').length < 3) throw new Error('in a bad mood');
    };
    await run(orderId);
    const firstParked = seen.indexOf('NeedsAttention');
    expect(new Set(seen.slice(0, firstParked))).toEqual(new Set(['Running']));
    expect(new Set(seen.slice(firstParked))).toEqual(new Set(['NeedsAttention']));
    expect((await sagaView(service, orderId)).steps).toMatchObject([
      { state: 'done' },
      { state: 'done' },
      { name: 'confirm', state: 'done' },
    ]);
    expect(await service.order(orderId)).toMatchObject({ status: 'confirmed' });
  });
});
