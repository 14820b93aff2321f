// Deliveries to webhook endpoints, judged by what a real receiver got: its bytes are verified and parsed by others' code.
import { HTTP } from 'cloudevents';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { newSecret } from '../../../src/webhooks/signature.ts';
import { waitsBeforeAttempts, jitter } from '../../../src/webhooks/retry-schedule.ts';
import { integrationEvent } from '../../support/integration-events.ts';
import {
  answerWith,
  isSignedBy,
  startWebhookReceiver,
  verified,
  type WebhookReceiver,
} from '../../support/webhook-receiver.ts';
import {
  deliveriesTo,
  letThrottlePass,
  letWaitsPass,
  startWebhooks,
  tenantId,
  type Webhooks,
} from '../../support/webhooks.ts';

let webhooks: Webhooks;
let receivers: WebhookReceiver[] = [];
beforeAll(async () => {
  webhooks = await startWebhooks();
});
afterEach(async () => {
  for (const endpoint of await webhooks.endpoints.list(tenantId))
    await webhooks.endpoints.remove(tenantId, endpoint.id);
  await Promise.all(receivers.map(async (receiver) => await receiver.close()));
  receivers = [];
});
afterAll(async () => await webhooks.stop());

async function receiver(...answer: Parameters<typeof startWebhookReceiver>): Promise<WebhookReceiver> {
  const started = await startWebhookReceiver(...answer);
  receivers.push(started);
  return started;
}

it('arrives signed, under the id of its event, as a CloudEvent that others can read', async () => {
  const there = await receiver();
  const { secret, destination } = await webhooks.add(there.url);
  const event = integrationEvent({ aggregateId: 'order-1', sequence: 7, data: { name: 'Zürich ☕' } });
  await webhooks.send(event);
  expect(await webhooks.drain()).toBe(1);

  const [received] = there.received;
  if (received === undefined) throw new Error('nothing has arrived');
  verified(secret, received);
  expect(isSignedBy(newSecret(), received)).toBe(false);
  expect(received.headers).toMatchObject({
    'webhook-id': event.eventId,
    'content-type': expect.stringMatching(/^application\/cloudevents\+json/),
    'user-agent': expect.stringMatching(/^athyper-sagas/),
  });
  const cloudEvent = HTTP.toEvent({ headers: received.headers, body: received.body });
  expect(cloudEvent).toMatchObject({ id: event.eventId, subject: 'order-1', data: { name: 'Zürich ☕' } });
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'done' }]);
  expect((await webhooks.endpoints.list(tenantId))[0]?.lastSuccessAt).toBeInstanceOf(Date);
});

it('is signed by both secrets until the overlap of a rotation ends, then by the new one only', async () => {
  const there = await receiver();
  const { id, secret: old } = await webhooks.add(there.url);
  const rotation = { secret: newSecret(), overlapSeconds: 3600, command: undefined };
  const rotated = await webhooks.endpoints.rotateSecret(tenantId, id, rotation);
  await webhooks.publish('order-1', [1]);
  await webhooks.drain();
  await webhooks.db
    .updateTable('webhook_secrets')
    .set({ signs_until: new Date(Date.now() - 1000) })
    .where('endpoint_id', '=', id)
    .where('signs_until', 'is not', null)
    .execute();
  await webhooks.publish('order-1', [2]);
  await webhooks.drain();

  const signedBy = there.received.map((each) => [old, rotated ?? ''].map((secret) => isSignedBy(secret, each)));
  expect(signedBy).toEqual([
    [true, true],
    [false, true],
  ]);
});

it('goes to the endpoints of its tenant that have asked for its type', async () => {
  const [all, one, other, foreign] = await Promise.all([receiver(), receiver(), receiver(), receiver()]);
  await webhooks.add(all.url);
  await webhooks.add(one.url, { events: ['thing.counted', 'thing.made'] });
  await webhooks.add(other.url, { events: ['thing.counted'] });
  await webhooks.add(foreign.url, { tenantId: 'another' });
  const [event] = await webhooks.publish('order-1', [1]);
  await webhooks.drain();

  expect([all, one, other, foreign].map(({ received }) => received.length)).toEqual([1, 1, 0, 0]);
  expect(one.ids()).toEqual([event?.eventId]);
});

it('is tried again by the schedule, under the same id, and is a dead letter after the last attempt', async () => {
  const there = await receiver(answerWith(500));
  const { destination } = await webhooks.add(there.url);
  const [event] = await webhooks.publish('order-1', [1]);

  for (const [index, milliseconds] of waitsBeforeAttempts.entries()) {
    if (index > 0) {
      const [row] = await deliveriesTo(webhooks, destination);
      const seconds = milliseconds / 1000;
      expect(row).toMatchObject({ state: 'pending', attempts: index, last_error: 'Error: the receiver answered 500' });
      expect(row?.waitSeconds).toBeGreaterThan(seconds - 60);
      expect(row?.waitSeconds).toBeLessThanOrEqual(seconds * (1 + jitter));
      expect(await webhooks.endpoints.list(tenantId)).toMatchObject([{ lastFailure: 'the receiver answered 500' }]);
      await letWaitsPass(webhooks, destination);
    }
    expect(await webhooks.drain()).toBe(1);
  }
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'dead', attempts: 10 }]);
  expect(there.ids()).toEqual(Array.from({ length: 10 }, () => event?.eventId));
});

it('meets a receiver that is away, then overloaded, then well, and is taken once', async () => {
  const closed = await startWebhookReceiver();
  await closed.close();
  const there = await receiver(answerWith(429, { 'Retry-After': '7200' }));
  const { id, destination } = await webhooks.add(closed.url);
  const [event] = await webhooks.publish('order-1', [1]);
  await webhooks.drain();
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'pending', attempts: 1 }]);

  await webhooks.db.updateTable('webhook_endpoints').set({ url: there.url }).where('id', '=', id).execute();
  await letWaitsPass(webhooks, destination);
  await webhooks.drain();
  const [row] = await deliveriesTo(webhooks, destination);
  // The schedule says five minutes, the receiver two hours.
  expect(row).toMatchObject({ attempts: 2, last_error: 'RetryAfterError: the receiver answered 429' });
  expect(row?.waitSeconds).toBeGreaterThan(7100);
  expect(row?.waitSeconds).toBeLessThanOrEqual(7200);

  there.answer(answerWith(200));
  await letWaitsPass(webhooks, destination);
  await letThrottlePass(webhooks, id);
  await webhooks.drain();
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'done', attempts: 3 }]);
  expect(there.ids()).toEqual([event?.eventId, event?.eventId]);
});

it('waits with all the others of its endpoint where that asks for a pause', async () => {
  const there = await receiver(answerWith(503, { 'Retry-After': new Date(Date.now() + 3_600_000).toUTCString() }));
  const { id, destination } = await webhooks.add(there.url);
  await webhooks.publish('order-1', [1]);
  await webhooks.drain();
  await webhooks.publish('order-2', [1]);
  expect(await webhooks.drain()).toBe(0);
  expect(there.received).toHaveLength(1);
  const { throttledUntil } = (await webhooks.endpoints.find(tenantId, id)) ?? {};
  expect((throttledUntil?.getTime() ?? 0) - Date.now()).toBeGreaterThan(3_500_000);

  there.answer(answerWith(204));
  await letThrottlePass(webhooks, id);
  await letWaitsPass(webhooks, destination);
  await webhooks.drain();
  expect((await deliveriesTo(webhooks, destination)).map(({ state }) => state)).toEqual(['done', 'done']);
});

it('leaves a long backlog alone once the receiver has asked for a pause, or is gone', async () => {
  for (const status of [429, 410]) {
    const there = await receiver(answerWith(status, { 'Retry-After': '3600' }));
    const { destination } = await webhooks.add(there.url);
    for (let order = 0; order < 30; order += 1) await webhooks.publish(`order-${status}-${order}`, [1]);
    // Four at once have begun before the first answer, and four more may have been claimed by then.
    expect(await webhooks.drain()).toBeLessThanOrEqual(8);
    const touched = (await deliveriesTo(webhooks, destination)).filter((row) => row.last_error !== null);
    expect(touched.length).toBeLessThanOrEqual(8);
  }
});

it('disables an endpoint that answers 410, and waits there until it is enabled, to go on in order', async () => {
  const there = await receiver(answerWith(410));
  const { id, destination } = await webhooks.add(there.url);
  const [first, ...later] = await webhooks.publish('order-1', [1, 2, 3]);
  await webhooks.drain();
  expect(await webhooks.endpoints.find(tenantId, id)).toMatchObject({
    disabledAt: expect.any(Date),
    disabledReason: 'the receiver answered 410 (gone)',
    lastFailure: expect.stringContaining('410'),
  });
  const more = await webhooks.publish('order-1', [4]);
  expect(await webhooks.drain()).toBe(0);
  const rows = await deliveriesTo(webhooks, destination);
  expect(rows.map(({ state }) => state)).toEqual(['dead', 'pending', 'pending', 'pending']);
  expect(rows[0]?.last_error).toContain('410 (gone): the endpoint is disabled');
  expect(there.ids()).toEqual([first?.eventId]);

  there.answer(answerWith(204));
  expect(await webhooks.endpoints.enable(tenantId, id)).toMatchObject({ disabledAt: null, disabledReason: null });
  await webhooks.drain();
  expect(there.ids().slice(1)).toEqual([...later, ...more].map(({ eventId }) => eventId));
});

it('is not written for an endpoint that has been disabled for longer than it collects', async () => {
  const there = await receiver();
  const { id, destination } = await webhooks.add(there.url);
  await webhooks.db
    .updateTable('webhook_endpoints')
    .set({ disabled_at: new Date(Date.now() - 8 * 86_400_000), disabled_reason: 'gone' })
    .where('id', '=', id)
    .execute();
  await webhooks.publish('order-1', [1]);
  expect(await deliveriesTo(webhooks, destination)).toEqual([]);
});

it('disables an endpoint where nothing but failures came of days of attempts', async () => {
  const there = await receiver(answerWith(500));
  const { id, destination } = await webhooks.add(there.url);
  await webhooks.publish('order-1', [1]);
  await webhooks.drain();
  await webhooks.db
    .updateTable('webhook_endpoints')
    .set({ failing_since: new Date(Date.now() - 6 * 86_400_000) })
    .where('id', '=', id)
    .execute();
  await letWaitsPass(webhooks, destination);
  await webhooks.drain();
  const { disabledReason } = (await webhooks.endpoints.find(tenantId, id)) ?? {};
  expect(disabledReason).toBe('every attempt of 5 days has failed, the last with: the receiver answered 500');
});

it('follows no redirect', async () => {
  const elsewhere = await receiver();
  const there = await receiver(answerWith(307, { Location: elsewhere.url }));
  const { destination } = await webhooks.add(there.url);
  await webhooks.publish('order-1', [1]);
  await webhooks.drain();
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([
    { state: 'pending', attempts: 1, last_error: 'Error: the receiver answered 307: redirects are not followed' },
  ]);
  expect(elsewhere.received).toEqual([]);
});
