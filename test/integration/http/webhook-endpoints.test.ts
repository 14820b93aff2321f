// The calls that make, show, change and delete webhook endpoints, and those about their deliveries.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { newId } from '../../../src/domain/ids.ts';
import { enqueueIntegrationEvent } from '../../../src/integration/integration-outbox.ts';
import { integrationEvent } from '../../support/integration-events.ts';
import { expectInvalid, expectProblem, startApi, type Api, type Reply } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

const wanted = { url: 'https://example.com/hooks', events: ['order.confirmed', '*'] };
const endpointSchema = z.looseObject({ id: z.string(), secret: z.string() });
const made = (reply: Reply) => endpointSchema.parse(reply.body);
const create = async (body: unknown = wanted, headers: Readonly<Record<string, string>> = {}): Promise<Reply> =>
  await api.call('POST', '/webhook-endpoints', { body, headers });
const elsewhere = { 'X-Tenant-Id': 'another' };

async function secretsOf(id: string): Promise<readonly string[]> {
  const rows = await api.db
    .selectFrom('webhook_secrets')
    .select('secret')
    .where('endpoint_id', '=', id)
    .orderBy('created_at')
    .execute();
  return rows.map(({ secret }) => secret);
}

describe('POST /webhook-endpoints', () => {
  test('makes an endpoint and tells its secret, which no other call does', async () => {
    const reply = await create();
    const { id, secret } = made(reply);
    expect(reply.status).toBe(201);
    expect(reply.headers.get('Location')).toBe(`/webhook-endpoints/${id}`);
    expect(Buffer.from(secret.replace(/^whsec_/, ''), 'base64')).toHaveLength(32);
    expect(await secretsOf(id)).toEqual([secret]);

    const shown = await api.call('GET', `/webhook-endpoints/${id}`);
    expect(shown.body).toMatchObject({
      id,
      url: wanted.url,
      events: wanted.events,
      status: 'enabled',
      disabledAt: null,
    });
    const listed = await api.call('GET', '/webhook-endpoints');
    expect(listed.body).toMatchObject({ endpoints: expect.arrayContaining([shown.body]) });
    for (const each of [shown, listed]) expect(each.text).not.toContain('whsec_');
    expect(api.logged.join('\n')).not.toContain('whsec_');
  });

  test('makes fifty for a tenant, and no more', async () => {
    const crowded = { 'X-Tenant-Id': 'crowded' };
    for (let made = 0; made < 50; made += 1) expect((await create(wanted, crowded)).status).toBe(201);
    expectProblem(await create(wanted, crowded), 409, 'too-many-endpoints');
    expect((await create(wanted, { 'X-Tenant-Id': 'roomy' })).status).toBe(201);
  });

  test('refuses a secret that a strict decoder would not read', async () => {
    expectInvalid(await create({ ...wanted, secret: `whsec_${'A'.repeat(33)}` }), 'secret');
  });

  test('takes the secret that it is given', async () => {
    const secret = `whsec_${Buffer.alloc(24, 1).toString('base64')}`;
    expect(made(await create({ ...wanted, secret })).secret).toBe(secret);
  });

  test('sent again under its key makes one endpoint, and tells the same secret', async () => {
    const headers = { 'Idempotency-Key': newId() };
    const [first, again] = [await create(wanted, headers), await create(wanted, headers)];
    expect(made(again)).toEqual(made(first));
    expect(again.headers.get('Idempotency-Replayed')).toBe('true');

    // As after a process that died before its answer was kept.
    await api.db
      .updateTable('idempotency_keys')
      .set({ status: null, headers: null, body: null, locked_until: null })
      .where('key', '=', headers['Idempotency-Key'])
      .execute();
    expect(made(await create(wanted, headers))).toMatchObject(made(first));
    expect(await secretsOf(made(first).id)).toEqual([made(first).secret]);
  });

  test.each([
    [{ ...wanted, url: 'nowhere' }, 'url'],
    [{ ...wanted, events: [] }, 'events'],
    [{ ...wanted, events: ['order.*'] }, 'events[0]'],
    [{ ...wanted, events: ['order.confirmed', 'order.created'] }, 'events[1]'],
    [{ ...wanted, secret: 'whsec_dG9vIHNob3J0' }, 'secret'],
    [{ ...wanted, secret: Buffer.alloc(32).toString('base64') }, 'secret'],
    [{ ...wanted, secret: `whsec_${Buffer.alloc(65).toString('base64')}` }, 'secret'],
    [{ ...wanted, active: true }, 'active'],
  ])('refuses %j', async (body, field) => {
    expectInvalid(await create(body), field);
  });

  test.each([
    'http://example.com/',
    'ftp://example.com/',
    'https://me:secret@example.com/',
    'https://127.0.0.1/',
    'https://0x7f.1/',
    'https://169.254.169.254/latest',
    'https://[::1]/',
    'https://[::ffff:10.0.0.1]/',
    'https://localhost:5432/',
  ])('refuses %s', async (url) => {
    expectProblem(await create({ ...wanted, url }), 422, 'url-not-allowed', 'url');
  });
});

describe('an endpoint', () => {
  test('is not there for another tenant, nor is one that is no UUID', async () => {
    const { id } = made(await create());
    for (const [method, path] of [
      ['GET', id],
      ['DELETE', id],
      ['POST', `${id}/rotate-secret`],
      ['POST', `${id}/enable`],
      ['GET', `${id}/deliveries`],
      ['POST', `${id}/replay`],
    ] as const) {
      const call = { headers: elsewhere, ...(path.endsWith('replay') ? { body: { eventId: newId() } } : {}) };
      expectProblem(await api.call(method, `/webhook-endpoints/${path}`, call), 404, 'webhook-endpoint-not-found');
    }
    expectProblem(await api.call('GET', '/webhook-endpoints/1'), 404, 'webhook-endpoint-not-found');
    expect((await api.call('GET', '/webhook-endpoints', { headers: elsewhere })).body).toEqual({ endpoints: [] });
  });

  test('is deleted once', async () => {
    const { id } = made(await create());
    expect((await api.call('DELETE', `/webhook-endpoints/${id}`)).status).toBe(204);
    expectProblem(await api.call('DELETE', `/webhook-endpoints/${id}`), 404, 'webhook-endpoint-not-found');
  });

  test('gets a new secret once for each key, and keeps the old one for the overlap', async () => {
    const { id, secret: old } = made(await create());
    const rotate = async (body: unknown, key = newId()): Promise<Reply> =>
      await api.call('POST', `/webhook-endpoints/${id}/rotate-secret`, { body, headers: { 'Idempotency-Key': key } });
    const key = newId();
    const rotated = await rotate({ overlapSeconds: 60 }, key);
    const { secret } = made(rotated);
    expect(rotated.status).toBe(200);
    await api.db
      .updateTable('idempotency_keys')
      .set({ status: null, headers: null, body: null, locked_until: null })
      .where('key', '=', key)
      .execute();
    expect(made(await rotate({ overlapSeconds: 60 }, key)).secret).toBe(secret);
    expect(await secretsOf(id)).toEqual([old, secret]);

    // With none to overlap, only the new one is left to sign; both that are over go with the next rotation.
    expect((await rotate({ overlapSeconds: 0, secret: old })).status).toBe(200);
    expect((await rotate({ overlapSeconds: 0 })).status).toBe(200);
    expect(await secretsOf(id)).not.toContain(secret);
    expectInvalid(await rotate({ overlapSeconds: -1 }), 'overlapSeconds');
    expectInvalid(await rotate({ secret: 'short' }), 'secret');
  });

  test('that was disabled shows it, and is enabled by hand', async () => {
    const { id } = made(await create());
    await api.db
      .updateTable('webhook_endpoints')
      .set({ disabled_at: new Date(), disabled_reason: 'the receiver answered 410 (gone)' })
      .where('id', '=', id)
      .execute();
    expect((await api.call('GET', `/webhook-endpoints/${id}`)).body).toMatchObject({
      status: 'disabled',
      disabledReason: 'the receiver answered 410 (gone)',
      collectsUntil: expect.any(String),
    });
    const enabled = await api.call('POST', `/webhook-endpoints/${id}/enable`);
    expect(enabled).toMatchObject({ status: 200, body: { status: 'enabled', disabledReason: null } });
  });
});

describe('its deliveries', () => {
  /** Of one order, in the states that are named. */
  async function deliveries(states: readonly ('pending' | 'dead' | 'done')[]) {
    const { id } = made(await create());
    const events = states.map((_, n) =>
      integrationEvent({ aggregateId: newId(), sequence: n + 1, metadata: { tenantId: 'default' } }),
    );
    for (const [n, event] of events.entries()) {
      await api.db.transaction().execute(async (tx) => await enqueueIntegrationEvent(tx, event, [`webhook:${id}`]));
      await api.db
        .updateTable('outbox')
        .set({
          state: states[n] ?? 'pending',
          attempts: n,
          published_at: states[n] === 'done' ? new Date() : null,
          last_error: states[n] === 'dead' ? 'Error: the receiver answered 503' : null,
        })
        .where('id', '=', event.eventId)
        .execute();
    }
    return { id, ids: events.map(({ eventId }) => eventId) };
  }
  const listSchema = z.object({
    deliveries: z.array(z.looseObject({ eventId: z.string() })),
    next: z.string().nullable(),
  });
  const list = async (id: string, query: string) =>
    listSchema.parse((await api.call('GET', `/webhook-endpoints/${id}/deliveries?${query}`)).body);

  test('are listed by state, with what failed and when it comes again', async () => {
    const { id, ids } = await deliveries(['pending', 'dead', 'done']);
    expect((await list(id, '')).deliveries.map(({ eventId }) => eventId).toSorted()).toEqual(ids.toSorted());
    expect((await list(id, 'state=dead')).deliveries).toMatchObject([
      {
        eventId: ids[1],
        attempts: 1,
        lastStatus: 503,
        lastError: 'Error: the receiver answered 503',
        nextAttemptAt: null,
      },
    ]);
    expect((await list(id, 'state=pending')).deliveries).toMatchObject([
      { eventId: ids[0], lastStatus: null, nextAttemptAt: expect.any(String) },
    ]);
    expect((await list(id, 'state=done')).deliveries).toMatchObject([
      { eventId: ids[2], deliveredAt: expect.any(String) },
    ]);
  });

  test('are read page by page', async () => {
    const { id, ids } = await deliveries(['done', 'done', 'done', 'done', 'done']);
    const seen: string[] = [];
    let after: string | null = '';
    while (after !== null) {
      const page: z.infer<typeof listSchema> = await list(id, `limit=2${after === '' ? '' : `&after=${after}`}`);
      seen.push(...page.deliveries.map(({ eventId }) => eventId));
      after = page.next;
    }
    expect(seen.toSorted()).toEqual(ids.toSorted());
    for (const wrong of ['after=1', 'after=1.x', 'limit=0', 'state=lost']) {
      expectInvalid(await api.call('GET', `/webhook-endpoints/${id}/deliveries?${wrong}`), wrong.split('=')[0] ?? '');
    }
  });

  test('are sent again, one or all since a time', async () => {
    const { id, ids } = await deliveries(['pending', 'dead', 'done', 'done']);
    const replay = async (body: unknown): Promise<Reply> =>
      await api.call('POST', `/webhook-endpoints/${id}/replay`, { body });
    expect(await replay({ eventId: ids[1] })).toMatchObject({ status: 202, body: { replayed: 1 } });
    expectProblem(await replay({ eventId: ids[1] }), 404, 'delivery-not-found', 'eventId');
    expect(await replay({ since: '2026-01-01T00:00:00Z' })).toMatchObject({ status: 202, body: { replayed: 2 } });
    expect((await list(id, 'state=pending')).deliveries).toHaveLength(4);
    expectInvalid(await replay({}), 'body');
    expectInvalid(await replay({ eventId: ids[1], since: '2026-01-01T00:00:00Z' }), 'body');
    expectInvalid(await replay({ eventId: 'x' }), 'eventId');
    expectInvalid(await replay({ since: 'yesterday' }), 'since');
  });

  test('are held, let go and sent again as those of any destination, by their own tenant', async () => {
    const { id, ids } = await deliveries(['dead', 'dead']);
    const path = `/outbox/webhook:${id}`;
    expect((await api.call('POST', `${path}/pause`)).body).toEqual({ destination: `webhook:${id}`, paused: true });
    expect((await api.call('POST', `${path}/resume`)).body).toEqual({ destination: `webhook:${id}`, paused: false });
    const listed = await api.call('GET', `/outbox?destination=webhook:${id}`);
    expect(listed.body).toMatchObject({ deliveries: [{ state: 'dead' }, { state: 'dead' }] });
    expect((await api.call('POST', `/outbox/${ids[0]}/webhook:${id}/retry`)).body).toEqual({ retried: 1 });
    expect((await api.call('POST', `${path}/retry`)).body).toEqual({ retried: 1 });
    for (const reply of [
      await api.call('POST', `${path}/pause`, { headers: elsewhere }),
      await api.call('POST', `/outbox/webhook:${newId()}/pause`),
      await api.call('POST', '/outbox/webhook:1/pause'),
    ]) {
      expectProblem(reply, 404, 'destination-not-found', 'destination');
    }
  });
});
