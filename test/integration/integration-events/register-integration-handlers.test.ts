// The handler that lets events leave the house: a delivery for each who wants one, once, in the inbox's transaction.
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { StoredEvent } from '../../../src/domain/event.ts';
import { newId } from '../../../src/domain/ids.ts';
import { registerIntegrationHandlers, type EndpointsFor } from '../../../src/handlers/register-integration-handlers.ts';
import { busInFrontOf, createInMemoryBus } from '../../../src/processes/bus.ts';
import { startSagaService, type SagaService } from '../../support/saga-service.ts';

let service: SagaService;
beforeAll(async () => {
  service = await startSagaService({ worker: false, relay: false });
});
afterAll(async () => await service.stop());

/** A bus with nothing but this handler. */
function busWith(endpointsFor: EndpointsFor, queue = true) {
  const bus = createInMemoryBus(service.parts);
  registerIntegrationHandlers(busInFrontOf(service.parts, bus), { queue, endpointsFor });
  return bus;
}

async function cancelledOrder(): Promise<StoredEvent> {
  const orderId = newId();
  const payload = { orderId, customerId: 'c-1', reason: 'no more', cancelledBy: 'c-1' };
  const of = { eventId: newId(), occurredAt: new Date(), aggregateId: orderId, aggregateType: 'order' };
  const metadata = { tenantId: 'acme' };
  const [stored] = await service.parts.store.append({ ...of, eventType: 'order.cancelled', payload, metadata });
  if (stored === undefined) throw new Error('it was stored');
  return stored;
}

const outside = async (eventId: string): Promise<readonly string[]> =>
  (
    await service.parts.db
      .selectFrom('outbox')
      .select('destination')
      .where('id', '=', eventId)
      .where('destination', '<>', 'bus')
      .orderBy('destination')
      .execute()
  ).map(({ destination }) => destination);

it('writes a delivery for the queue and for each endpoint that wants the event, however often the bus delivers it', async () => {
  const asked: unknown[] = [];
  const bus = busWith(async (_, wanted) => {
    asked.push(wanted);
    return await Promise.resolve(['webhook:b', 'webhook:a']);
  });
  const event = await cancelledOrder();
  await Promise.all(Array.from({ length: 5 }, async () => await bus.deliver(event)));

  expect(await outside(event.eventId)).toEqual(['integration-events', 'webhook:a', 'webhook:b']);
  expect(asked).toEqual([{ tenantId: 'acme', eventType: 'order.cancelled' }]);
});

it('gives nobody a second delivery where the inbox has forgotten the event, and one to who was not there before', async () => {
  const event = await cancelledOrder();
  await busWith(async () => await Promise.resolve(['webhook:a'])).deliver(event);
  await service.parts.db.updateTable('outbox').set({ state: 'done' }).where('id', '=', event.eventId).execute();
  await service.parts.db.deleteFrom('inbox').where('event_id', '=', event.eventId).execute();
  await busWith(async () => await Promise.resolve(['webhook:a', 'webhook:new'])).deliver(event);

  const rows = await service.parts.db
    .selectFrom('outbox')
    .select(['destination', 'state'])
    .where('id', '=', event.eventId)
    .where('destination', '<>', 'bus')
    .orderBy('destination')
    .execute();
  expect(rows.map(({ destination, state }) => [destination, state])).toEqual([
    ['integration-events', 'done'],
    ['webhook:a', 'done'],
    ['webhook:new', 'pending'],
  ]);
});

it('writes nothing where it fails, and all of it the next time', async () => {
  let isBroken = true;
  const bus = busWith(async () => {
    if (isBroken) throw new Error('the endpoints cannot be read');
    return await Promise.resolve(['webhook:a']);
  });
  const event = await cancelledOrder();
  await expect(bus.deliver(event)).rejects.toThrow('integration.translate');
  expect(await outside(event.eventId)).toEqual([]);
  isBroken = false;
  await bus.deliver(event);
  expect(await outside(event.eventId)).toEqual(['integration-events', 'webhook:a']);
});

it('leaves the queue alone where there is no Redis, and asks for no endpoint of what stays in the house', async () => {
  const asked: string[] = [];
  const bus = busWith(async (_, { eventType }) => {
    asked.push(eventType);
    return await Promise.resolve([]);
  }, false);
  const event = await cancelledOrder();
  await bus.deliver(event);
  await bus.deliver({ ...event, eventId: newId(), eventType: 'order.item_removed' });
  expect(await outside(event.eventId)).toEqual([]);
  expect(asked).toEqual(['order.cancelled']);
});
