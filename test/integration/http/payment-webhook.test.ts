import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectInvalid, expectProblem, makeOrder, startApi, webhookSecret, type Api, type Reply } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

type Callback = Readonly<Record<string, unknown>>;

/** The payment of an order, prepared and asked for as the saga does, with a method that answers later. */
async function pendingPayment(tenantId = 'default'): Promise<Callback & Readonly<{ paymentId: string }>> {
  const orderId = await makeOrder(api);
  const { gateway } = api.deps;
  const of = { key: `saga-${orderId}`, tenantId, orderId, amount: 700, currency: 'EUR', method: 'pm_pending' };
  const { paymentId } = await gateway.prepare(of);
  await gateway.capture(paymentId);
  return { type: 'payment.completed', paymentId, orderId, amount: 700, currency: 'EUR' };
}

let callbacks = 0;
const newCallbackId = () => `msg_${(callbacks += 1)}`;

function signed(body: string, id = newCallbackId(), at = new Date(), secret = webhookSecret): Record<string, string> {
  return {
    'webhook-id': id,
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': new Webhook(secret).sign(id, at, body),
  };
}
const post = async (raw: string, headers: Readonly<Record<string, string>>): Promise<Reply> =>
  await api.call('POST', '/webhooks/payments', { raw, headers });
const send = async (callback: Callback, id?: string): Promise<Reply> => {
  const raw = JSON.stringify(callback);
  return await post(raw, signed(raw, id));
};

const statusOf = async (paymentId: string) =>
  (await api.db.selectFrom('payments').select('status').where('payment_id', '=', paymentId).executeTakeFirstOrThrow())
    .status;
const eventsOf = async (paymentId: string) =>
  await api.db
    .selectFrom('events')
    .select(['event_type', 'aggregate_type', 'tenant_id', 'payload', 'metadata'])
    .where('aggregate_id', '=', paymentId)
    .orderBy('version')
    .execute();

test('a completed payment is charged, and its event is on the payment’s stream', async () => {
  const callback = await pendingPayment('shop-7');
  const raw = JSON.stringify(callback);
  const reply = await post(raw, { ...signed(raw, 'evt_1'), 'X-Correlation-Id': 'callback-1' });
  expect([reply.status, reply.text]).toEqual([204, '']);
  const { paymentId, orderId } = callback;
  expect(await statusOf(paymentId)).toBe('charged');
  expect(await eventsOf(paymentId)).toEqual([
    {
      event_type: 'payment.callback_received',
      aggregate_type: 'payment',
      tenant_id: 'shop-7',
      payload: { paymentId, orderId, outcome: 'completed', callbackId: 'evt_1' },
      metadata: { tenantId: 'shop-7', correlationId: 'callback-1' },
    },
  ]);
});

test('a failed payment is declined, with the gateway’s reason', async () => {
  const callback = await pendingPayment();
  expect((await send({ ...callback, type: 'payment.failed', reason: 'no funds' })).status).toBe(204);
  const rows = await api.db.selectFrom('payments').selectAll().where('payment_id', '=', callback.paymentId).execute();
  expect(rows).toMatchObject([{ status: 'declined', reason: 'no funds' }]);
  expect(await eventsOf(callback.paymentId)).toMatchObject([{ payload: { outcome: 'failed' } }]);
});

test('the same callback again is a success and changes nothing', async () => {
  const callback = await pendingPayment();
  const id = newCallbackId();
  const replies = [await send(callback, id), await send(callback, id)];
  const together = await Promise.all([send(callback, id), send(callback, id), send(callback, id)]);
  expect([...replies, ...together].map((reply) => reply.status)).toEqual([204, 204, 204, 204, 204]);
  expect(await eventsOf(callback.paymentId)).toHaveLength(1);
  const entries = await api.db
    .selectFrom('ledger_entries')
    .selectAll()
    .where('payment_id', '=', callback.paymentId)
    .execute();
  expect(entries).toHaveLength(1);
});

test('one id for two different things is a conflict, and the second changes nothing', async () => {
  const [one, other] = [await pendingPayment(), await pendingPayment()];
  const id = newCallbackId();
  expect((await send(one, id)).status).toBe(204);
  expectProblem(await send(other, id), 409, 'conflict');
  expect(await statusOf(other.paymentId)).toBe('pending');
  expect(await eventsOf(other.paymentId)).toEqual([]);
});

test('what is decided stays decided, whatever comes later under another id', async () => {
  const callback = await pendingPayment();
  await send(callback);
  expect((await send({ ...callback, type: 'payment.failed' })).status).toBe(204);
  expect(await statusOf(callback.paymentId)).toBe('charged');
});

test('fields that we do not know are the gateway’s own business', async () => {
  const callback = await pendingPayment();
  expect((await send({ ...callback, fee: 12, livemode: false })).status).toBe(204);
});

describe('the signature', () => {
  const minutes = (n: number) => new Date(Date.now() + n * 60_000);
  const otherSecret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

  /** Sends it with these headers; expects 401 and that nothing has happened. */
  async function refused(change: (raw: string) => Readonly<{ raw?: string; headers: Record<string, string> }>) {
    const callback = await pendingPayment();
    const raw = JSON.stringify(callback);
    const { headers, raw: sent = raw } = change(raw);
    expectProblem(await post(sent, headers), 401, 'signature-not-valid');
    expect(await statusOf(callback.paymentId)).toBe('pending');
    expect(await eventsOf(callback.paymentId)).toEqual([]);
  }

  test('of another secret is refused', async () => {
    await refused((raw) => ({ headers: signed(raw, 'a', new Date(), otherSecret) }));
  });

  test.each(['webhook-id', 'webhook-timestamp', 'webhook-signature'])('needs %s', async (name) => {
    await refused((raw) => ({ headers: { ...signed(raw), [name]: '' } }));
    await refused((raw) => ({
      headers: Object.fromEntries(Object.entries(signed(raw)).filter(([key]) => key !== name)),
    }));
  });

  test.each([-6, 6])('of a time %i minutes from now is refused', async (n) => {
    await refused((raw) => ({ headers: signed(raw, 'b', minutes(n)) }));
  });

  test.each([-4, 4])('of a time %i minutes from now is good', async (n) => {
    const raw = JSON.stringify(await pendingPayment());
    expect((await post(raw, signed(raw, newCallbackId(), minutes(n)))).status).toBe(204);
  });

  test('covers the id and the time', async () => {
    await refused((raw) => ({ headers: { ...signed(raw, 'c'), 'webhook-id': 'd' } }));
    await refused((raw) => ({
      headers: { ...signed(raw, 'c', minutes(-1)), 'webhook-timestamp': String(Math.floor(Date.now() / 1000)) },
    }));
  });

  test('covers the bytes: a body that says the same in other bytes is refused', async () => {
    await refused((raw) => ({ headers: signed(raw), raw: JSON.stringify(JSON.parse(raw), undefined, 1) }));
  });

  test.each(['v2', 'v1a', ''])('of the version %j is not looked at', async (version) => {
    await refused((raw) => {
      const headers = signed(raw);
      return {
        headers: { ...headers, 'webhook-signature': headers['webhook-signature']?.replace('v1', version) ?? '' },
      };
    });
  });

  test.each(['v1,', 'v1', 'v1,AAAA', 'v1,***', 'nonsense'])('%j is refused', async (signature) => {
    await refused((raw) => ({ headers: { ...signed(raw), 'webhook-signature': signature } }));
  });

  test('may be one of several, as while the sender changes its secret', async () => {
    const raw = JSON.stringify(await pendingPayment());
    const id = newCallbackId();
    const now = new Date();
    const both = [otherSecret, webhookSecret].map((secret) => new Webhook(secret).sign(id, now, raw));
    const headers = { ...signed(raw, id, now), 'webhook-signature': ['v1a,xyz', ...both].join(' ') };
    expect((await post(raw, headers)).status).toBe(204);
  });
});

describe('a callback that does not fit', () => {
  test('any payment is 404', async () => {
    const callback = await pendingPayment();
    const nobody = '01890000-0000-7000-8000-000000000000';
    expectProblem(await send({ ...callback, paymentId: nobody }), 404, 'payment-not-found', 'paymentId');
    expectProblem(await send({ ...callback, paymentId: 'pi_123' }), 404, 'payment-not-found', 'paymentId');
  });

  test.each([
    ['amount', 699],
    ['currency', 'USD'],
    ['orderId', '01890000-0000-7000-8000-000000000000'],
  ])('its payment’s %s is 422, and nothing is recorded', async (field, value) => {
    const callback = await pendingPayment();
    expectProblem(await send({ ...callback, [field]: value }), 422, 'payment-mismatch', field);
    expect(await statusOf(callback.paymentId)).toBe('pending');
    expect(await eventsOf(callback.paymentId)).toEqual([]);
  });

  test.each([
    ['type', 'payment.refunded'],
    ['type', undefined],
    ['amount', '700'],
    ['amount', -1],
    ['currency', 'eur'],
    ['paymentId', ''],
    ['reason', 5],
  ])('its form (%s: %j) is 400 and names the field', async (field, value) => {
    const callback = await pendingPayment();
    expectInvalid(await send({ ...callback, [field]: value }), field);
    expect(await statusOf(callback.paymentId)).toBe('pending');
  });

  test('JSON at all is 400', async () => {
    expectProblem(await post('{', signed('{')), 400, 'malformed-json', 'body');
  });
});
