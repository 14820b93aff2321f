import { validate, version } from 'uuid';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { eventTypes, expectInvalid, expectProblem, startApi, type Api, type Call, type Reply } from './api.ts';

let api: Api;
beforeAll(async () => {
  api = await startApi();
});
afterAll(async () => {
  await api.close();
});

const other = { 'X-Tenant-Id': 'other' };
const nobody = '01890000-0000-7000-8000-000000000000';
const post = async (email: unknown, headers: Call['headers'] = {}): Promise<Reply> =>
  await api.call('POST', '/users', { body: { email }, headers });
const patch = async (userId: string, email: unknown, headers: Call['headers'] = {}): Promise<Reply> =>
  await api.call('PATCH', `/users/${userId}`, { body: { email }, headers });
const get = async (userId: string, headers: Call['headers'] = {}): Promise<Reply> =>
  await api.call('GET', `/users/${userId}`, { headers });
const idOf = (reply: Reply): string => z.object({ userId: z.string(), email: z.string() }).parse(reply.body).userId;
const make = async (email: string, headers: Call['headers'] = {}): Promise<string> => {
  const made = await post(email, headers);
  expect(made.status).toBe(201);
  return idOf(made);
};
const usersWith = async (address: string): Promise<number> => {
  const rows = await api.db.selectFrom('users').select('email').execute();
  return rows.filter(({ email }) => email.toLowerCase() === address).length;
};

describe('POST /users', () => {
  test('makes a user, says where it is, and shows the address as mail will be sent to it', async () => {
    const made = await post('  Ada.L@Example.COM ');
    const userId = idOf(made);
    expect(made).toMatchObject({ status: 201, body: { userId, email: 'Ada.L@example.com' } });
    expect(made.headers.get('Location')).toBe(`/users/${userId}`);
    expect(validate(userId) && version(userId)).toBe(7);
    expect((await get(userId)).body).toEqual(made.body);
    expect(await get(userId.toUpperCase())).toMatchObject({ status: 200, body: { userId } });
    expect(await eventTypes(api, userId)).toEqual(['user.created']);
  });

  test('carries tenant, actor, correlation and trace into the event', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const headers = { ...other, 'X-User-Id': 'clerk', 'X-Correlation-Id': 'story-7', traceparent };
    const userId = await make('meta@example.com', headers);
    await patch(userId, 'meta2@example.com', headers);
    const events = await api.deps.store.getEvents(userId);
    expect(events).toHaveLength(2);
    for (const { metadata } of events) {
      expect(metadata).toEqual({ tenantId: 'other', userId: 'clerk', correlationId: 'story-7', traceparent });
    }
    expect(events[0]?.payload).toEqual({ userId, email: 'meta@example.com', tenantId: 'other' });
  });

  test.each(['taken@example.com', 'TAKEN@Example.Com', ' taken@example.com'])(
    'an address that is taken is refused, also spelt %j',
    async (spelt) => {
      if ((await usersWith('taken@example.com')) === 0) await make('Taken@example.com');
      const refused = await post(spelt);
      expectProblem(refused, 409, 'email-taken', 'email');
      expect(refused.text).not.toMatch(/taken@/i);
      expect(await usersWith('taken@example.com')).toBe(1);
    },
  );

  test('another tenant may have the same address', async () => {
    const mine = await make('shared@example.com');
    const theirs = await make('shared@example.com', other);
    expect(theirs).not.toBe(mine);
    expectProblem(await post('shared@example.com', other), 409, 'email-taken', 'email');
  });

  test('of those who want one address at the same time one gets it', async () => {
    const spellings = ['race@example.com', 'Race@example.com', 'RACE@example.com', 'race@EXAMPLE.com'];
    const replies = await Promise.all([...spellings, ...spellings].map(async (email) => await post(email)));
    const [made, ...more] = replies.filter(({ status }) => status === 201);
    expect(more).toEqual([]);
    for (const refused of replies.filter((reply) => reply !== made)) {
      expectProblem(refused, 409, 'email-taken', 'email');
    }
    expect(await usersWith('race@example.com')).toBe(1);
  });

  test('sent again with its key makes no other user, also where the answer was not kept', async () => {
    const headers = { 'Idempotency-Key': 'once' };
    const first = await post('once@example.com', headers);
    const again = await post('once@example.com', headers);
    expect(again.text).toBe(first.text);
    expect(again.headers.get('Idempotency-Replayed')).toBe('true');
    // A process that died after its commit; meanwhile the user has moved, and somebody else has the address.
    await api.db
      .updateTable('idempotency_keys')
      .set({ status: null, headers: null, body: null, locked_until: null })
      .where('key', '=', 'once')
      .execute();
    await patch(idOf(first), 'moved@example.com');
    await make('once@example.com');
    const late = await post('once@example.com', headers);
    expect(late).toMatchObject({ status: 201, body: { userId: idOf(first), email: 'moved@example.com' } });
    expect(await eventTypes(api, idOf(first))).toEqual(['user.created', 'user.email_updated']);
  });

  test('the same key of another tenant, or with another address, is another request', async () => {
    const headers = { 'Idempotency-Key': 'key' };
    const mine = await post('key@example.com', headers);
    const theirs = await post('key@example.com', { ...headers, ...other });
    expect([mine.status, theirs.status]).toEqual([201, 201]);
    expect(idOf(theirs)).not.toBe(idOf(mine));
    expectProblem(await post('key2@example.com', headers), 422, 'idempotency-key-reused', 'Idempotency-Key');
  });
});

describe('PATCH /users/{id}', () => {
  test('changes the address, and frees the old one', async () => {
    const userId = await make('before@example.com');
    expect(await patch(userId, 'after@example.com')).toMatchObject({
      status: 200,
      body: { userId, email: 'after@example.com' },
    });
    expect((await get(userId)).body).toEqual({ userId, email: 'after@example.com' });
    const [, event] = await api.deps.store.getEvents(userId);
    expect(event).toMatchObject({
      eventType: 'user.email_updated',
      payload: { userId, oldEmail: 'before@example.com', newEmail: 'after@example.com' },
    });
    expect((await post('before@example.com')).status).toBe(201);
  });

  test('to the address that it has is no change', async () => {
    const userId = await make('same@example.com');
    for (const email of ['same@example.com', ' same@EXAMPLE.com']) {
      expect(await patch(userId, email)).toMatchObject({ status: 200, body: { userId, email: 'same@example.com' } });
    }
    expect(await eventTypes(api, userId)).toEqual(['user.created']);
  });

  test('to another spelling of its own address is one', async () => {
    const userId = await make('spelt@example.com');
    expect((await patch(userId, 'Spelt@example.com')).body).toEqual({ userId, email: 'Spelt@example.com' });
    expect(await eventTypes(api, userId)).toEqual(['user.created', 'user.email_updated']);
  });

  test('to an address that is taken is refused, and changes nothing', async () => {
    await make('holder@example.com');
    const userId = await make('wants@example.com');
    expectProblem(await patch(userId, 'Holder@example.com'), 409, 'email-taken', 'email');
    expect((await get(userId)).body).toEqual({ userId, email: 'wants@example.com' });
    expect(await eventTypes(api, userId)).toEqual(['user.created']);
  });
});

test.each([
  [{}, ['email']],
  [{ email: 7 }, ['email']],
  [{ email: null }, ['email']],
  [{ email: '' }, ['email']],
  [{ email: 'ada' }, ['email']],
  [{ email: 'ada@localhost' }, ['email']],
  [{ email: `${'l'.repeat(65)}@example.com` }, ['email']],
  [{ email: 'a\u0000@example.com' }, ['email']],
  [{ email: 'fine@example.com', name: 'Ada', userId: nobody }, ['name', 'userId']],
  [{ email: 'ada@example', name: 'Ada' }, ['email', 'name']],
  [[], ['body']],
  [undefined, ['body']],
])('the body %j is refused and its fields %j are named', async (body, fields) => {
  const userId = await make(`ok-${crypto.randomUUID()}@example.com`);
  const given = body === undefined ? {} : { body };
  expectInvalid(await api.call('POST', '/users', given), ...fields);
  expectInvalid(await api.call('PATCH', `/users/${userId}`, given), ...fields);
  expect(await eventTypes(api, userId)).toEqual(['user.created']);
});

test.each([nobody, 'x', 'a%2Fb'])('%s is no user', async (userId) => {
  expectProblem(await get(userId), 404, 'user-not-found', 'userId');
  expectProblem(await patch(userId, 'nobody@example.com'), 404, 'user-not-found', 'userId');
});

test('a user of another tenant is not there', async () => {
  const userId = await make('mine@example.com');
  expectProblem(await get(userId, other), 404, 'user-not-found', 'userId');
  expectProblem(await patch(userId, 'theirs@example.com', other), 404, 'user-not-found', 'userId');
  expect((await get(userId)).body).toEqual({ userId, email: 'mine@example.com' });
});

test('other methods are told which there are', async () => {
  const reply = await api.call('DELETE', `/users/${nobody}`);
  expectProblem(reply, 405, 'method-not-allowed');
  expect(reply.headers.get('Allow')).toBe('GET, PATCH, HEAD, OPTIONS');
});
