// A relay that is really killed when a receiver has an event in its hands: sent again under the same id, nothing is missing.
import { afterEach, beforeEach, expect, it } from 'vitest';
import { letLeasesRunOut, queueIsEmpty } from '../../support/delivery-books.ts';
import { createRoleProcesses, type RoleProcess, type RoleProcesses } from '../../support/role-process.ts';
import { eventually } from '../../support/saga-service.ts';
import { services } from '../../support/services.ts';
import { answerWith, startWebhookReceiver, verified, type WebhookReceiver } from '../../support/webhook-receiver.ts';
import { deliveriesTo, startWebhooks, type Webhooks } from '../../support/webhooks.ts';

let webhooks: Webhooks;
let roles: RoleProcesses;
let there: WebhookReceiver;

beforeEach(async () => {
  webhooks = await startWebhooks();
  there = await startWebhookReceiver();
  roles = createRoleProcesses({
    DATABASE_URL: webhooks.url,
    TEMPORAL_ADDRESS: services().temporalAddress,
    WEBHOOKS_ALLOW_PRIVATE: 'true',
  });
});
afterEach(async () => {
  await roles.stop();
  await there.close();
  await webhooks.stop();
});

it.each(['before it has answered', 'when it has answered'])(
  'kill -9 of the relay while a receiver has an event, %s: it comes again under the same id, and the rest in order',
  async (when) => {
    const { secret, destination } = await webhooks.add(there.url);
    const relay = Promise.withResolvers<RoleProcess>();
    const killed = Promise.withResolvers<void>();
    there.answer((_received, response) => {
      // No more than the answer's way back lies between it and the kill: the mark takes a statement more.
      if (when === 'when it has answered') response.writeHead(204).end();
      void relay.promise.then(async (process) => await process.kill()).then(killed.resolve);
    });
    relay.resolve(await roles.start('relay'));
    const events = await webhooks.publish('order-1', [1, 2, 3]);
    await killed.promise;
    const [first] = await deliveriesTo(webhooks, destination);
    // It was killed before the mark, or the test would show nothing.
    expect(first).toMatchObject({ state: 'pending', attempts: 1 });

    there.answer(answerWith(204));
    const next = await roles.start('relay');
    await letLeasesRunOut(webhooks);
    await queueIsEmpty(webhooks);
    const ids = events.map(({ eventId }) => eventId);
    expect(there.ids()).toEqual([ids[0], ...ids]);
    for (const received of there.received) verified(secret, received);
    expect((await deliveriesTo(webhooks, destination)).map(({ attempts }) => attempts)).toEqual([2, 1, 1]);
    await next.terminate();
  },
);

it('two relays send nothing twice, and each order in its order', async () => {
  const { destination } = await webhooks.add(there.url);
  await Promise.all([roles.start('relay'), roles.start('relay')]);
  const orders = ['a', 'b', 'c', 'd', 'e', 'f'];
  const events = (
    await Promise.all(orders.map(async (order) => await webhooks.publish(`order-${order}`, [1, 2, 3, 4, 5])))
  ).flat();
  await queueIsEmpty(webhooks);
  expect(there.ids().toSorted()).toEqual(events.map(({ eventId }) => eventId).toSorted());
  for (const order of orders) {
    const ofOrder = events.filter(({ aggregateId }) => aggregateId === `order-${order}`).map(({ eventId }) => eventId);
    expect(there.ids().filter((id) => ofOrder.includes(id))).toEqual(ofOrder);
  }
  await eventually(async () =>
    (await deliveriesTo(webhooks, destination)).every(({ state }) => state === 'done') ? true : undefined,
  );
});
