// What becomes of an endpoint's deliveries when it is deleted, and when they are sent again.
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { listDeliveries } from '../../../src/outbox/outbox-admin.ts';
import { replayEvent, replaySince } from '../../../src/webhooks/endpoint-deliveries.ts';
import { endpointsFor } from '../../../src/webhooks/webhook-endpoints.ts';
import { enqueueIntegrationEvent } from '../../../src/integration/integration-outbox.ts';
import { integrationEvent } from '../../support/integration-events.ts';
import { createHold, eventually } from '../../support/saga-service.ts';
import { answerWith, startWebhookReceiver, type WebhookReceiver } from '../../support/webhook-receiver.ts';
import {
  deliveriesTo,
  letWaitsPass,
  startWebhooks,
  tenantId,
  type TestEndpoint,
  type Webhooks,
} from '../../support/webhooks.ts';

let webhooks: Webhooks;
let there: WebhookReceiver;
beforeAll(async () => {
  webhooks = await startWebhooks();
  there = await startWebhookReceiver();
});
afterEach(async () => {
  for (const { id } of await webhooks.endpoints.list(tenantId)) await webhooks.endpoints.remove(tenantId, id);
  there.answer(answerWith(204));
});
afterAll(async () => {
  await there.close();
  await webhooks.stop();
});

/** Rows that are not done, and lanes. */
async function leftOf(destination: string): Promise<readonly string[]> {
  const { rows } = await sql<{ kind: string }>`
    select 'row' as kind from outbox where destination = ${destination} and not published
    union all select 'lane' from outbox_lanes where destination = ${destination}
    union all select 'hold' from outbox_destinations where destination = ${destination}`.execute(webhooks.db);
  return rows.map(({ kind }) => kind);
}

const idsSince = (count: number): readonly string[] => there.ids().slice(count);

it('deleted, it takes with it what waits for it, and no other endpoint’s', async () => {
  there.answer(answerWith(500));
  const [gone, stays] = [await webhooks.add(there.url), await webhooks.add(there.url)];
  await webhooks.publish('order-1', [1, 2]);
  await webhooks.publish('order-2', [1]);
  await webhooks.drain();
  expect((await leftOf(gone.destination)).length).toBe(5);
  expect(await webhooks.endpoints.remove('another', gone.id)).toBe(false);
  expect(await webhooks.endpoints.remove(tenantId, gone.id)).toBe(true);
  expect(await leftOf(gone.destination)).toEqual([]);
  expect((await leftOf(stays.destination)).length).toBe(5);
  expect(await webhooks.endpoints.remove(tenantId, gone.id)).toBe(false);
});

it('deleted in the middle of a delivery, that one ends and nothing is left of it', async () => {
  const hold = createHold();
  there.answer((_received, response) => {
    void hold.wait().then(() => response.writeHead(204).end());
  });
  const { id, destination } = await webhooks.add(there.url);
  await webhooks.publish('order-1', [1, 2]);
  const before = there.received.length;
  const round = webhooks.drain();
  await hold.reached;
  await webhooks.endpoints.remove(tenantId, id);
  hold.release();
  await round;
  expect(idsSince(before)).toHaveLength(1);
  expect(await leftOf(destination)).toEqual([]);
});

it('deleted while its deliveries are being written, it waits for them and takes them along', async () => {
  const { id, destination } = await webhooks.add(there.url);
  const hold = createHold();
  const event = integrationEvent({ aggregateId: 'order-1' });
  const writing = webhooks.db.transaction().execute(async (tx) => {
    const wanted = await endpointsFor(tx, { tenantId, eventType: event.eventType });
    await hold.wait();
    await enqueueIntegrationEvent(tx, event, wanted);
    return wanted;
  });
  await hold.reached;
  const removing = webhooks.endpoints.remove(tenantId, id);
  await eventually(async () => {
    const { rows } = await sql`
      select from pg_stat_activity
      where datname = current_database() and wait_event_type = 'Lock'`.execute(webhooks.db);
    return rows.length > 0 ? true : undefined;
  });
  hold.release();
  expect(await writing).toEqual([destination]);
  expect(await removing).toBe(true);
  expect(await leftOf(destination)).toEqual([]);
});

it('a lane that somebody writes for one that is gone is removed again', async () => {
  const { id, destination } = await webhooks.add(there.url);
  await webhooks.endpoints.remove(tenantId, id);
  await sql`insert into outbox_lanes (destination, aggregate_id, due_at) values (${destination}, 'order-1', now())`.execute(
    webhooks.db,
  );
  expect(await webhooks.drain()).toBe(0);
  expect(await leftOf(destination)).toEqual([]);
});

it('rows that were written without a lane are found as well', async () => {
  const { destination } = await webhooks.add(there.url);
  await webhooks.publish('order-1', [1]);
  await sql`delete from outbox_lanes where destination = ${destination}`.execute(webhooks.db);
  const loop = webhooks.createLoop();
  loop.start();
  await eventually(async () => (await deliveriesTo(webhooks, destination))[0]?.state === 'done' || undefined);
  await loop.stop();
});

async function deadAndDone(): Promise<TestEndpoint & Readonly<{ ids: readonly string[] }>> {
  const endpoint = await webhooks.add(there.url);
  const [first, ...others] = await webhooks.publish('order-1', [1, 2, 3]);
  there.answer((received, response) => response.writeHead(received.id === first?.eventId ? 500 : 204).end());
  await sql`update outbox set attempts = 9 where id = ${first?.eventId}::uuid`.execute(webhooks.db);
  await webhooks.drain();
  const states = (await deliveriesTo(webhooks, endpoint.destination)).map(({ state }) => state);
  expect(states).toEqual(['dead', 'done', 'done']);
  there.answer(answerWith(204));
  return { ...endpoint, ids: [first, ...others].map((event) => event?.eventId ?? '') };
}

it('sends a dead one again, and a done one, each under its id', async () => {
  const { destination, ids } = await deadAndDone();
  const before = there.received.length;
  const [dead = '', done = ''] = ids;
  expect(await replayEvent(webhooks.db, destination, dead)).toBe(1);
  expect(await replayEvent(webhooks.db, destination, done)).toBe(1);
  // It waits already.
  expect(await replayEvent(webhooks.db, destination, done)).toBe(0);
  await webhooks.drain();
  expect(idsSince(before).toSorted()).toEqual([dead, done].toSorted());
  expect((await deliveriesTo(webhooks, destination)).map(({ state }) => state)).toEqual(['done', 'done', 'done']);
});

it('sends all again since a time, each once and each order’s in order', async () => {
  const { destination, ids } = await deadAndDone();
  const others = (await webhooks.publish('order-2', [1, 2])).map(({ eventId }) => eventId);
  await webhooks.drain();
  await sql`
    update outbox set created_at = now() - interval '1 day' where id = ${others[0]}::uuid`.execute(webhooks.db);
  // A receiver that takes its time sees whether the next of an order comes before it has answered.
  let underWay = 0;
  let most = 0;
  there.answer(({ id }, response) => {
    if (ids.includes(id)) most = Math.max(most, (underWay += 1));
    setTimeout(() => {
      if (ids.includes(id)) underWay -= 1;
      response.writeHead(204).end();
    }, 100);
  });
  const before = there.received.length;
  const since = new Date(Date.now() - 3_600_000);
  expect(await replaySince(webhooks.db, destination, since, 1)).toBe(4);
  await webhooks.drain();
  const again = idsSince(before);
  expect(again.filter((id) => ids.includes(id))).toEqual(ids);
  expect(again.filter((id) => others.includes(id))).toEqual(others.slice(1));
  expect(again).toHaveLength(4);
  expect(most).toBe(1);
});

it('held by an operator it gets nothing, and is seen where all deliveries are', async () => {
  const { destination } = await webhooks.add(there.url);
  await sql`insert into outbox_destinations (destination, paused) values (${destination}, true)`.execute(webhooks.db);
  const [event] = await webhooks.publish('order-1', [1]);
  expect(await webhooks.drain()).toBe(0);
  const { deliveries } = await listDeliveries(webhooks.db, {
    tenantId,
    state: 'pending',
    destination,
    limit: 10,
    blocking: [],
  });
  expect(deliveries).toMatchObject([{ eventId: event?.eventId, destination, attempts: 0 }]);
  await sql`update outbox_destinations set paused = false where destination = ${destination}`.execute(webhooks.db);
  await letWaitsPass(webhooks, destination);
  expect(await webhooks.drain()).toBe(1);
});
