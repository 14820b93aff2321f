// From an order to a receiver outside, with every part between them, and what metrics and probes show of it.
import { HTTP } from 'cloudevents';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { newId } from '../../../src/domain/ids.ts';
import { stopAll, type Running } from '../../../src/platform/lifecycle.ts';
import { runOutboxCommand, parseOutboxCommand } from '../../../src/processes/outbox-command.ts';
import { relayReadiness } from '../../../src/processes/readiness.ts';
import { startRelay } from '../../../src/processes/relay.ts';
import { sampleMetrics } from '../../../src/processes/sampled-metrics.ts';
import { startWebhooks } from '../../../src/processes/webhooks.ts';
import { newSecret } from '../../../src/webhooks/signature.ts';
import { createWebhookEndpoints } from '../../../src/webhooks/webhook-endpoints.ts';
import { readMetrics, type Scrape } from '../../support/metrics.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../../support/saga-service.ts';
import { answerWith, isSignedBy, startWebhookReceiver, type WebhookReceiver } from '../../support/webhook-receiver.ts';

let service: SagaService;
let there: WebhookReceiver;
let running: readonly Running[];
let checks: ReturnType<typeof relayReadiness>;
beforeAll(async () => {
  there = await startWebhookReceiver();
  const environment = { WEBHOOKS_ALLOW_PRIVATE: 'true' };
  service = await startSagaService({ worker: false, relay: false, environment });
  const { parts } = service;
  const [relay, webhooks] = [startRelay(parts), startWebhooks(parts)];
  const loops = { relay: { ...relay.loops, webhook: webhooks.loop }, subscriptions: {}, jobs: undefined };
  checks = relayReadiness(parts, loops);
  running = [webhooks, relay, sampleMetrics(parts, { database: true, loops, everyMilliseconds: 100 })];
});
afterAll(async () => {
  await stopAll(running);
  await service.stop();
  await there.close();
});

const scrape = async (): Promise<Scrape> => readMetrics(await service.parts.metricsRegistry.text());
async function add(events: readonly string[]): Promise<Readonly<{ id: string; secret: string }>> {
  const id = newId();
  const endpoints = createWebhookEndpoints(service.parts.db);
  return { id, secret: await endpoints.create(metadata.tenantId, { id, url: there.url, events, secret: newSecret() }) };
}

it('an order that is submitted is told to who has asked for that, and each endpoint gets it once', async () => {
  const [one, all] = [await add(['order.submitted']), await add(['*'])];
  await add(['order.cancelled']);
  await service.stock(5);
  const orderId = await service.submit();
  await eventually(async () => (there.received.length >= 2 ? true : undefined));

  const [first, second] = there.received;
  if (first === undefined || second === undefined) throw new Error('both have arrived');
  expect(second.id).toBe(first.id);
  for (const received of there.received) {
    const signedBy = [one, all].filter(({ secret }) => isSignedBy(secret, received));
    expect(signedBy).toHaveLength(1);
    const cloudEvent = HTTP.toEvent({ headers: received.headers, body: received.body });
    expect(cloudEvent).toMatchObject({ type: 'com.athyper.order.submitted.v1', subject: orderId });
  }
});

it('all endpoints share one label, and one that fails makes nobody unready', async () => {
  there.answer(answerWith(410));
  await service.submit();
  const metrics = await eventually(async () => {
    const now = await scrape();
    return now.value('webhook_endpoints', { status: 'disabled' }) === 2 ? now : undefined;
  });
  expect(metrics.value('webhook_endpoints', { status: 'enabled' })).toBe(1);
  expect(metrics.value('webhook_endpoints_disabled_total', { why: 'gone' })).toBe(2);
  const dead = await eventually(async () => {
    const now = await scrape();
    return now.value('outbox_dead', { destination: 'webhook' }) === 2 ? now : undefined;
  });
  for (const name of ['outbox_attempts_total', 'outbox_pending', 'outbox_dead', 'relay_loop_age_seconds']) {
    const labels = new Set(dead.labelsOf(name).map(({ destination }) => destination));
    expect([...labels].filter((label) => label?.startsWith('webhook'))).toEqual(['webhook']);
  }
  expect(await checks['relay']?.()).toMatchObject({ ok: true, ageMilliseconds: { webhook: expect.any(Number) } });
});

it('the operator’s command knows endpoints as destinations, and no endpoint that is not there', async () => {
  const { db } = service.parts;
  const run = async (line: string): Promise<string> => await runOutboxCommand(db, parseOutboxCommand(line.split(' ')));
  const { id } = await add(['*']);
  expect(await run(`pause webhook:${id}`)).toBe(`webhook:${id} is paused: it gets nothing until it is resumed.\n`);
  expect(await run(`resume webhook:${id}`)).toBe(`webhook:${id} is resumed.\n`);
  expect(await run(`retry webhook:${id} --all`)).toBe(`0 dead letters of webhook:${id} will be sent again.\n`);
  await expect(run(`pause webhook:${newId()}`)).rejects.toThrow(/^There is no webhook endpoint /);
  await expect(run('pause webhook:1')).rejects.toThrow(/there is no destination webhook:1/);
});
