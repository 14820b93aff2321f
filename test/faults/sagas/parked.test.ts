// A saga is parked while its worker dies, while Temporal is away, and while what an operator decided is written down.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId, sagaStreamId } from '../../../src/domain/ids.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance } from '../../support/books.ts';
import { createHolds, type Holds } from '../../support/holds.ts';
import { parksAtOnce, resolve, sagaView, untilParked } from '../../support/parked.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';
import { services } from '../../support/services.ts';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

let proxy: TcpProxy;
let service: SagaService;
let roles: RoleProcesses;
let holds: Holds;
let worker: RoleProcess;

beforeAll(async () => {
  const [host = '', port] = services().temporalAddress.split(':');
  proxy = await startTcpProxy({ host, port: Number(port) });
  const environment = { ...parksAtOnce, TEMPORAL_ADDRESS: `127.0.0.1:${proxy.port}` };
  service = await startSagaService({ worker: false, environment });
  await service.stock(9);
  roles = createRoleProcesses(service.environment);
  holds = createHolds();
  worker = await roles.startProgram('run-fault-worker.ts', holds.environment);
});
afterAll(async () => {
  await roles.stop();
  await service.stop();
  await proxy.close();
  holds.remove();
});

/** What no worker can do anything about, in whichever process. */
const refuseRefunds = async (): Promise<void> => {
  await sql`
    create or replace function refuse_refund() returns trigger language plpgsql as $$
    begin raise exception 'the provider takes no refunds'; end $$`.execute(service.parts.db);
  await sql`
    create trigger refuse_refund before insert on refunds for each row execute function refuse_refund()`.execute(
    service.parts.db,
  );
};
const takeRefunds = async (): Promise<void> => {
  await sql`drop trigger refuse_refund on refunds`.execute(service.parts.db);
};

/** Charged and then cancelled, and its refund is parked. */
async function parkedOrder(): Promise<string> {
  const orderId = newId();
  const workflowId = orderSagaId(orderId);
  holds.hold(workflowId, 'begin:confirmOrder');
  await service.submit({ orderId });
  await holds.reached(workflowId, 'begin:confirmOrder');
  await service.commands.cancel(orderId, 'changed my mind', 'customer', metadata);
  holds.release(workflowId, 'begin:confirmOrder');
  await untilParked(service, workflowId, 'charge');
  return orderId;
}

const settled = (reference: string) => ({ step: 'charge', action: 'settled', reference }) as const;
const bookedByHand = async (orderId: string): Promise<readonly string[]> =>
  (
    await service.parts.db
      .selectFrom('ledger_entries')
      .innerJoin('payments', 'payments.payment_id', 'ledger_entries.payment_id')
      .select('reference')
      .where('order_id', '=', orderId)
      .where('kind', '=', 'settlement')
      .execute()
  ).map(({ reference }) => reference ?? 'none');
const applied = async (orderId: string): Promise<number> =>
  (await service.parts.store.getEvents(sagaStreamId(orderSagaId(orderId)))).filter(
    ({ eventType }) => eventType === 'saga.resolution_applied',
  ).length;

describe('a worker killed with -9 while sagas are parked', () => {
  let retried: string;
  let settling: string;
  let unheard: string;

  beforeAll(async () => {
    await refuseRefunds();
    [retried, settling, unheard] = [await parkedOrder(), await parkedOrder(), await parkedOrder()];
    // One decision is written down, and its worker dies before the saga hears so.
    holds.hold(orderSagaId(settling), 'committed:applyResolution');
    await resolve(service, settling, settled('bank transfer 1'));
    await holds.reached(orderSagaId(settling), 'committed:applyResolution');
    await worker.kill();
    await takeRefunds();
    // One comes while no worker runs, one while Temporal cannot be reached at all.
    await resolve(service, retried, { step: 'charge', action: 'retry' });
    proxy.cut();
    await resolve(service, unheard, settled('bank transfer 2'));
    expect(await sagaView(service, unheard)).toMatchObject({ status: 'NeedsAttention' });
    proxy.mend();
    worker = await roles.startProgram('run-fault-worker.ts', holds.environment);
    await Promise.allSettled([retried, settling, unheard].map(async (orderId) => await service.ended(orderId)));
  });

  it('goes on when it is started again: what an operator wanted retried is refunded, once', async () => {
    expect(await booksOf(service.parts, retried)).toEqual({
      status: 'cancelled',
      reservation: 'released',
      captures: 1,
      refunds: 1,
      net: 0,
    });
    expect(await bookedByHand(retried)).toEqual([]);
  });

  it('between the commit of a decision and its answer, the decision stands, once', async () => {
    expect(await booksOf(service.parts, settling)).toMatchObject({ status: 'cancelled', refunds: 0, net: 0 });
    expect(await bookedByHand(settling)).toEqual(['bank transfer 1']);
    expect(await applied(settling)).toBe(1);
  });

  it('and with Temporal out of reach, a decision is taken all the same and heard later', async () => {
    expect(await booksOf(service.parts, unheard)).toMatchObject({ status: 'cancelled', refunds: 0, net: 0 });
    expect(await bookedByHand(unheard)).toEqual(['bank transfer 2']);
    expect(await applied(unheard)).toBe(1);
  });

  it('leaves stock, money and deliveries in balance', async () => {
    await expectBooksToBalance(service.parts, { stocked: { lamp: 9 } });
  });
});
