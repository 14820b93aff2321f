// Receivers that are slow, silent, large, or not where they say: what they cost, and whom they hold up.
import { createServer, type Socket } from 'node:net';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { eventually } from '../../support/saga-service.ts';
import {
  answerWith,
  startWebhookReceiver,
  type Answering,
  type WebhookReceiver,
} from '../../support/webhook-receiver.ts';
import { deliveriesTo, letWaitsPass, startWebhooks, tenantId, type Webhooks } from '../../support/webhooks.ts';

let webhooks: Webhooks;
let closing: (() => Promise<void>)[] = [];
beforeAll(async () => {
  webhooks = await startWebhooks();
});
afterEach(async () => {
  for (const endpoint of await webhooks.endpoints.list(tenantId))
    await webhooks.endpoints.remove(tenantId, endpoint.id);
  for (const close of closing) await close();
  closing = [];
});
afterAll(async () => await webhooks.stop());

async function receiver(answering?: Answering): Promise<WebhookReceiver> {
  const started = await startWebhookReceiver(answering);
  closing.push(started.close);
  return started;
}

type Tap = Readonly<{ url: string; sockets: readonly Socket[] }>;

/** A server that speaks no HTTP of its own. */
async function tap(onRequest: (socket: Socket) => void): Promise<Tap> {
  const sockets: Socket[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => undefined);
    socket.once('data', () => onRequest(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closing.push(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, 'close');
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the server has no port');
  return { url: `http://127.0.0.1:${address.port}/`, sockets };
}

/** Writes a bit all the time, as long as somebody listens. */
function trickle(socket: Socket, text: string): void {
  const timer = setInterval(() => socket.write(text), 20);
  socket.once('close', () => clearInterval(timer));
}

it.each([
  ['accepts and says nothing', () => undefined],
  ['sends the head of an answer that never ends', (socket: Socket) => trickle(socket, 'HTTP/1.1 100 Continue\r\n\r\n')],
  [
    'sends a header letter by letter',
    (socket: Socket) => {
      socket.write('HTTP/1.1 200 OK\r\nx-long: ');
      trickle(socket, 'x');
    },
  ],
])('one that %s is given up on in time, and delays no other', async (_, onRequest) => {
  const [slow, well] = [await tap(onRequest), await receiver()];
  const slowOne = await webhooks.add(slow.url);
  const wellOne = await webhooks.add(well.url);
  const loop = webhooks.createLoop({ timeoutMilliseconds: 1_500 });
  await webhooks.publish('order-1', [1, 2, 3]);
  const round = loop.processOutbox();

  await eventually(async () => (slow.sockets.length > 0 ? true : undefined));
  // All of them, while the slow one still has its first.
  await eventually(async () =>
    (await deliveriesTo(webhooks, wellOne.destination)).every(({ state }) => state === 'done') ? true : undefined,
  );
  expect(await deliveriesTo(webhooks, slowOne.destination)).toMatchObject([
    { state: 'pending', last_error: null },
    {},
    {},
  ]);
  await round;
  expect((await deliveriesTo(webhooks, slowOne.destination))[0]).toMatchObject({
    state: 'pending',
    attempts: 1,
    last_error: 'Error: no answer within 1.5 s',
  });
  expect(slow.sockets.every((socket) => socket.destroyed || socket.readableEnded)).toBe(true);
});

it('one that answers with more than anybody reads has answered, and is not read to its end', async () => {
  let written = 0;
  const chunk = Buffer.alloc(65_536, 'x');
  const there = await receiver((_received, response) => {
    response.writeHead(200);
    const write = (): void => {
      while (!response.destroyed && written < 4_000) {
        written += 1;
        if (!response.write(chunk)) return void response.once('drain', write);
      }
    };
    write();
  });
  const { destination } = await webhooks.add(there.url);
  await webhooks.publish('order-1', [1]);
  await webhooks.drain();
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'done' }]);
  // What the buffers of two sockets hold, of 250 MB.
  expect(written).toBeLessThan(400);
});

it('one that has taken the event and then goes on and on has taken it', async () => {
  const there = await receiver((_received, response) => {
    response.writeHead(202);
    const timer = setInterval(() => response.write('x'), 20);
    response.once('close', () => clearInterval(timer));
  });
  const { destination } = await webhooks.add(there.url);
  await webhooks.publish('order-1', [1]);
  await webhooks.drain();
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'done', attempts: 1 }]);
});

it('more that hang than there are places let the others go on in turn', async () => {
  const well = await receiver();
  const hanging = await tap(() => undefined);
  for (let n = 0; n < 70; n += 1) await webhooks.add(hanging.url);
  await webhooks.add(well.url);
  const loop = webhooks.createLoop({ timeoutMilliseconds: 1_000 });
  await webhooks.publish('order-1', [1]);
  loop.start();
  await eventually(async () => (well.received.length === 1 ? true : undefined));
  // The rest of the service shares the pool.
  expect((await webhooks.db.selectFrom('outbox').select('id').limit(1).execute()).length).toBe(1);
  await loop.stop();
});

it('a relay that stops gives back what hangs, without an attempt, and what it has begun it ends', async () => {
  const hanging = await tap(() => undefined);
  const { destination } = await webhooks.add(hanging.url);
  await webhooks.publish('order-1', [1]);
  const loop = webhooks.createLoop();
  loop.start();
  await eventually(async () => (hanging.sockets.length > 0 ? true : undefined));
  await loop.stop();
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'pending', attempts: 0 }]);
  expect(loop.loopAgeMilliseconds()).toBeLessThan(20_000);
});

it.each([
  ['a name that means a private address', ['127.0.0.1']],
  ['a name that means one in IPv6', ['::1', 'fe80::1', 'fd00::1', '::ffff:127.0.0.1', '64:ff9b::7f00:1']],
  ['the service that tells a machine its secrets', ['169.254.169.254']],
])('%s is not called', async (_, addresses) => {
  const there = await receiver();
  const { destination } = await webhooks.add(`https://hooks.example:${there.port}/`);
  await webhooks.publish('order-1', [1]);
  const loop = webhooks.createLoop({ allowPrivate: false, resolve: async () => await Promise.resolve(addresses) });
  await loop.processOutbox();
  expect((await deliveriesTo(webhooks, destination))[0]).toMatchObject({ attempts: 1 });
  expect((await deliveriesTo(webhooks, destination))[0]?.last_error).toContain('private or reserved address');
});

it('a private address that stands in the URL is not called either', async () => {
  const there = await receiver();
  const { destination } = await webhooks.add(`https://127.0.0.1:${there.port}/`);
  await webhooks.publish('order-1', [1]);
  await webhooks.createLoop({ allowPrivate: false }).processOutbox();
  const [row] = await deliveriesTo(webhooks, destination);
  expect(row?.last_error).toBe('Error: the URL must not be a private or reserved address');
});

it('a name is asked once for each attempt, and what it means at the next moment is checked as well', async () => {
  const there = await tap(() => undefined);
  const port = Number(new URL(there.url).port);
  const { destination } = await webhooks.add(`https://rebound.example:${port}/`);
  await webhooks.publish('order-1', [1]);
  const answers = [['192.0.2.1', '127.0.0.1'], ['127.0.0.1']];
  let asked = 0;
  const resolve = async (): Promise<readonly string[]> => await Promise.resolve(answers[asked++] ?? []);
  const loop = webhooks.createLoop({ allowPrivate: false, resolve, timeoutMilliseconds: 1_000 });
  await loop.processOutbox();
  expect(asked).toBe(1);
  await letWaitsPass(webhooks, destination);
  await loop.processOutbox();
  expect(asked).toBe(2);
  expect(there.sockets).toEqual([]);
  expect((await deliveriesTo(webhooks, destination))[0]?.last_error).toContain('private or reserved address');
});

it('is called at the address that was checked, whatever the name means to the system', async () => {
  const there = await receiver(answerWith(204));
  const { destination } = await webhooks.add(`http://nobody.invalid:${there.port}/`);
  await webhooks.publish('order-1', [1]);
  await webhooks.createLoop({ resolve: async () => await Promise.resolve(['127.0.0.1']) }).processOutbox();
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'done' }]);
  expect(there.received[0]?.headers.host).toBe(`nobody.invalid:${there.port}`);
});

it('goes through no proxy that the environment names', async () => {
  const [there, proxy] = [await receiver(), await tap((socket) => socket.end())];
  const { destination } = await webhooks.add(there.url);
  await webhooks.publish('order-1', [1]);
  const names = ['HTTP_PROXY', 'http_proxy', 'NODE_USE_ENV_PROXY'];
  const before = names.map((name) => process.env[name]);
  for (const name of names) process.env[name] = name === 'NODE_USE_ENV_PROXY' ? '1' : proxy.url;
  try {
    await webhooks.drain();
  } finally {
    for (const [n, name] of names.entries()) {
      if (before[n] === undefined) delete process.env[name];
      else process.env[name] = before[n];
    }
  }
  expect(proxy.sockets).toEqual([]);
  expect(await deliveriesTo(webhooks, destination)).toMatchObject([{ state: 'done' }]);
});
