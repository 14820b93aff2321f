// An API killed with -9: what it has answered stands, and what it has not can be sent again.
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { orderSagaId } from '../../../src/domain/saga-contract.ts';
import { booksOf, expectBooksToBalance, runsOf } from '../../support/books.ts';
import { createHttpClient, createOrder } from '../../support/http-client.ts';
import { createRoleProcesses, type RoleProcesses } from '../../support/role-process.ts';
import { startSagaService, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
let roles: RoleProcesses;

beforeEach(async () => {
  service = await startSagaService();
  roles = createRoleProcesses(service.environment);
  await service.stock(100);
});
afterEach(async () => {
  await roles.stop();
  await service.stop();
});

it('has its order found by the relay when it dies right after the 202', async () => {
  const api = await roles.start('api');
  const client = createHttpClient(api.url);
  const orderId = await createOrder(client);
  const submitted = await client.post(`/orders/${orderId}/submit`);
  await api.kill();
  expect(submitted.status).toBe(202);
  expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
  expect(await booksOf(service.parts, orderId)).toMatchObject({ captures: 1, net: 3000 });
  await expectBooksToBalance(service.parts, { stocked: { lamp: 100 } });
});

it('leaves each request that it did not answer to be sent again, with its Idempotency-Key, to the next API', async () => {
  const api = await roles.start('api');
  const client = createHttpClient(api.url);
  const orderIds = await Promise.all(Array.from({ length: 20 }, async () => await createOrder(client)));
  const submit = async (url: string, orderId: string): Promise<number> =>
    (
      await createHttpClient(url).post(`/orders/${orderId}/submit`, undefined, {
        'Idempotency-Key': `submit-${orderId}`,
      })
    ).status;
  // One cannot be answered before the kill, however fast the machine: its order is locked until then.
  const answers = await service.parts.db.transaction().execute(async (tx) => {
    await sql`select from streams where aggregate_id = ${orderIds[0]} for update`.execute(tx);
    const first = orderIds.map(async (orderId) => await submit(api.url, orderId).catch(() => 'no answer' as const));
    await Promise.race(first);
    await api.kill();
    return await Promise.all(first);
  });
  console.log(`answered before the kill: ${answers.filter((answer) => answer === 202).length} of ${answers.length}`);
  expect(answers).toContain('no answer');

  const next = await roles.start('api');
  // What waiting does: until then a key in the hands of the dead answers 409, "try again".
  await sql`update idempotency_keys set locked_until = now() - interval '1 second' where locked_until is not null`.execute(
    service.parts.db,
  );
  for (const orderId of orderIds) expect(await submit(next.url, orderId)).toBe(202);
  for (const orderId of orderIds) {
    expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
    expect(await runsOf(service.parts, orderSagaId(orderId))).toHaveLength(1);
  }
  await expectBooksToBalance(service.parts, { stocked: { lamp: 100 } });
});
