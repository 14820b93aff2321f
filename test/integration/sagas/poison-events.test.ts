// Events that no saga can be started with, among others that are well: put aside with the reason, and sent again once
// mended. And a Temporal that refuses everything: then no event is at fault, and none is put aside.
import { randomUUID } from 'node:crypto';
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { holdDestination, retryDeadLetters } from '../../../src/outbox/outbox-admin.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';

const megabyte = 1_000_000;

/** The delivery of the order's submission to Temporal. */
const submissionOf = async ({ parts }: SagaService, orderId: string) =>
  await parts.db
    .selectFrom('outbox')
    .select(['id', 'state', 'attempts', 'last_error'])
    .where('aggregate_id', '=', orderId)
    .where('event_type', '=', 'order.submitted')
    .where('destination', '=', 'temporal')
    .executeTakeFirstOrThrow();

describe('an event that is too large to start a saga with', () => {
  let service: SagaService;
  beforeAll(async () => {
    service = await startSagaService();
    await service.stock(20);
  });
  afterAll(async () => await service.stop());

  /**
   * The store takes no such event any more: it stands in the outbox as a release without a limit would have left it.
   * @returns the order, and one that was submitted before it and one after it, all delivered together
   */
  async function submitBook(bytes: number): Promise<Readonly<{ book: string; neighbours: readonly string[] }>> {
    const { db } = service.parts;
    await holdDestination(db, 'temporal', true);
    const before = await service.submit();
    const book = await service.submit();
    const after = await service.submit();
    await sql`update outbox set payload = jsonb_set(payload, '{paymentMethod}', to_jsonb(repeat('x', ${bytes}::int)))
      where aggregate_id = ${book} and event_type = 'order.submitted' and destination = 'temporal'`.execute(db);
    await holdDestination(db, 'temporal', false);
    return { book, neighbours: [before, after] };
  }

  const deadLetter = async (orderId: string) =>
    await eventually(async () => {
      const delivery = await submissionOf(service, orderId);
      return delivery.state === 'dead' ? delivery : undefined;
    });

  it.each([3, 5])('(%i MB) is a dead letter at once, which says why, and its neighbours go on', async (megabytes) => {
    const { book, neighbours } = await submitBook(megabytes * megabyte);
    for (const orderId of neighbours) expect(await service.ended(orderId)).toMatchObject({ status: 'confirmed' });
    expect(await deadLetter(book)).toMatchObject({
      attempts: 1,
      last_error: expect.stringMatching(/\d{7} bytes exceed/) as string,
    });
    expect(await service.order(book)).toMatchObject({ status: 'submitted' });
  });

  it('starts its saga, with all that came after it, once it is mended and sent again', async () => {
    const { book, neighbours } = await submitBook(3 * megabyte);
    // The ledger below is that of all orders' stock: theirs is taken, or held no more.
    for (const orderId of neighbours) await service.ended(orderId);
    const { id } = await deadLetter(book);
    await service.commands.cancel(book, 'it takes too long', 'customer', metadata);
    await sql`update outbox set payload = jsonb_set(payload, '{paymentMethod}', '"pm_ok"')
      where id = ${id} and destination = 'temporal'`.execute(service.parts.db);
    await retryDeadLetters(service.parts.db, { tenantId: 'default', eventId: id, destination: 'temporal' });
    expect(await service.ended(book)).toMatchObject({ status: 'cancelled' });
    // The saga may end before the relay has noted that it was started.
    await expect.poll(async () => await submissionOf(service, book)).toMatchObject({ state: 'done', attempts: 1 });
    expect(await service.ledger(book)).toMatchObject({ reserved: 0, net: 0 });
  });
});

describe('a namespace that is not there', () => {
  it('holds all starts, with the reason, and makes no dead letter; the bus goes on', async () => {
    const namespace = `gone-${randomUUID()}`;
    const service = await startSagaService({ worker: false, environment: { TEMPORAL_NAMESPACE: namespace } });
    try {
      const orderId = await service.submit();
      const held = await eventually(async () => {
        const delivery = await submissionOf(service, orderId);
        return delivery.last_error === null ? undefined : delivery;
      });
      expect(held).toMatchObject({
        state: 'pending',
        attempts: 0,
        last_error: expect.stringMatching(/misconfigured(.|\n)*gone-/) as string,
      });
      await eventually(async () => {
        const { rows } = await sql`select 1 from outbox where destination = 'bus' and not published`.execute(
          service.parts.db,
        );
        return rows.length === 0 ? true : undefined;
      });
    } finally {
      await service.stop();
    }
  });
});
