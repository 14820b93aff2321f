// The command `reconcile` as a person or a timer runs it: what it prints, and how it ends.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { findFreePort } from '../../../src/embedded/children/free-port.ts';
import type { Finding } from '../../../src/reconcile/reconcile.ts';
import { createStuckSteps, startBusyService, terminate } from '../../support/reconcile.ts';
import { runMain } from '../../support/role-process.ts';
import type { SagaService } from '../../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startBusyService();
  await service.stock(100);
});
afterAll(async () => await service.stop());

const reconcile = async (args: readonly string[], environment: Readonly<Record<string, string>> = {}) =>
  await runMain(['reconcile', ...args], { ...service.environment, ...environment });

async function damageRow(): Promise<string> {
  const orderId = await service.submit();
  await service.ended(orderId);
  await sql`update orders set total = 1 where order_id = ${orderId}`.execute(service.parts.db);
  return orderId;
}
const totalOf = async (orderId: string): Promise<number> => (await service.order(orderId)).total;

describe('the command', () => {
  it('reports a difference on a line and ends with 1, mends it with --repair and ends with 0', async () => {
    const orderId = await damageRow();
    const found = await reconcile(['--grace', '0']);
    const line = `order-row order=${orderId} | is: its row is not what its stream says (total) | right: projected again from its stream | safe to mend`;
    expect(found).toEqual({ code: 1, stdout: `${line}\n0 mended, 1 left\n`, stderr: '' });
    expect(await totalOf(orderId)).toBe(1);

    const mended = await reconcile(['--repair', '--json', '--grace', '0']);
    expect(mended).toMatchObject({ code: 0, stderr: '' });
    const [finding, summary] = mended.stdout
      .trimEnd()
      .split('\n')
      .map((text) => JSON.parse(text) as unknown);
    expect(finding).toMatchObject({
      kind: 'order-row',
      ids: { order: orderId },
      outcome: 'mended',
    } satisfies Partial<Finding>);
    expect(summary).toEqual({ differences: 0, mended: 1, kinds: { 'order-row': 1 }, notCompared: [] });
    expect(await totalOf(orderId)).toBe(3000);
    expect(await reconcile(['--grace', '0', '--since', '1'])).toEqual({
      code: 0,
      stdout: '0 mended, 0 left\n',
      stderr: '',
    });
  });

  it('says that Temporal is away and ends with 1; what needs it is not touched, the rest is mended', async () => {
    const steps = createStuckSteps(service);
    const lost = newId();
    steps.hold(lost, 'chargePayment');
    await service.submit({ orderId: lost });
    await steps.reached(lost, 'chargePayment');
    await terminate(service, orderSagaId(lost));
    const damaged = await damageRow();
    const address = { TEMPORAL_ADDRESS: `127.0.0.1:${await findFreePort()}` };
    const { code, stdout } = await reconcile(['--repair', '--grace', '0'], address);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^not compared: sagas: Temporal is away/m);
    expect(stdout).toMatch(/^1 mended, 0 left$/m);
    expect(await totalOf(damaged)).toBe(3000);
    expect((await service.order(lost)).status).toBe('submitted');
    const starts = service.parts.db.selectFrom('saga_starts').select('repairs').where('aggregate_id', '=', lost);
    expect(await starts.execute()).toEqual([{ repairs: 0 }]);
  });

  it('that is told nonsense says what would be right', async () => {
    const { code, stderr } = await reconcile(['--repiar']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/--repiar.*\nusage: node src\/main\.ts reconcile \[--repair\]/);
  });
});
