// The stream that others read: every event that leaves the house, in the order of its aggregate, whatever Redis does.
import { CloudEvent as JudgedEvent, HTTP } from 'cloudevents';
import { Redis } from 'ioredis';
import { sql } from 'kysely';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { contentType } from '../../../src/integration/cloud-event.ts';
import { holdDestination } from '../../../src/outbox/outbox-admin.ts';
import { stopAll, type Running } from '../../../src/platform/lifecycle.ts';
import { startConsumer } from '../../../src/processes/consumer.ts';
import { parseOutboxCommand, runOutboxCommand } from '../../../src/processes/outbox-command.ts';
import { startRelay } from '../../../src/processes/relay.ts';
import { movingUser, readStream, sequencesOf, type StreamEntry } from '../../support/integration-events.ts';
import { lookAgain } from '../../support/relays.ts';
import { startOwnRedis, type OwnRedis } from '../../support/redis.ts';
import { eventually, startSagaService, type SagaService } from '../../support/saga-service.ts';
import { startTcpProxy, type TcpProxy } from '../../support/tcp-proxy.ts';

const destination = 'integration-events';
let redis: OwnRedis;
let proxy: TcpProxy;
let admin: Redis;
let service: SagaService;
let running: readonly Running[];

beforeAll(async () => {
  redis = await startOwnRedis();
  admin = new Redis(redis.url);
  const { port } = new URL(redis.url);
  proxy = await startTcpProxy({ host: '127.0.0.1', port: Number(port) });
  const environment = { REDIS_URL: `redis://127.0.0.1:${proxy.port}` };
  service = await startSagaService({ worker: false, relay: false, environment });
  // No saga of these users is wanted.
  await holdDestination(service.parts.db, 'temporal', true);
  running = [startConsumer(service.parts), startRelay(service.parts)];
});
afterAll(async () => {
  await stopAll(running);
  await service.stop();
  await proxy.close();
  admin.disconnect();
  await redis.stop();
});
beforeEach(async () => {
  await sql`truncate outbox, outbox_lanes, inbox`.execute(service.parts.db);
  await admin.del(destination);
});
afterEach(async () => await holdDestination(service.parts.db, destination, false));

const entries = async (): Promise<readonly StreamEntry[]> => await readStream(admin);
const untilEntries = async (count: number): Promise<readonly StreamEntry[]> =>
  await eventually(async () => {
    const read = await entries();
    return read.length >= count ? read : undefined;
  }, 50_000);
const rows = async () =>
  await service.parts.db
    .selectFrom('outbox')
    .select(['id', 'state', 'attempts', 'last_error'])
    .where('destination', '=', destination)
    .execute();
const untilRows = async (holds: (all: Awaited<ReturnType<typeof rows>>) => boolean): Promise<void> =>
  void (await eventually(async () => (holds(await rows()) ? true : undefined), 50_000));
const upTo = (last: number): readonly number[] => Array.from({ length: last }, (_, n) => n + 1);

describe('the stream of integration events', () => {
  it('holds CloudEvents that the judge reads from their bytes, with what a reader filters by beside them', async () => {
    const userId = await movingUser(service, 0);
    const [entry] = await untilEntries(1);
    if (entry === undefined) throw new Error('there is one');
    const event = JSON.parse(entry.event) as { id: string };
    expect(new JudgedEvent(event).validate()).toBe(true);
    expect(HTTP.toEvent({ headers: { 'content-type': contentType }, body: entry.event })).toMatchObject({
      type: 'com.athyper.user.created.v1',
      data: { userId },
    });
    expect(entry).toEqual({
      id: event.id,
      type: 'com.athyper.user.created.v1',
      subject: userId,
      tenant: 'acme',
      event: entry.event,
    });
  });

  it('has each event once, in the order of its aggregate, however often the bus delivers it', async () => {
    const users = await Promise.all(Array.from({ length: 4 }, async () => await movingUser(service, 9)));
    await untilEntries(40);
    const { db } = service.parts;
    await eventually(async () => {
      const late = await db
        .selectFrom('outbox')
        .select('id')
        .where('state', '=', 'pending')
        .where('destination', '<>', 'temporal')
        .executeTakeFirst();
      return late === undefined ? true : undefined;
    });
    // As after a refill of Redis; and by whom the inbox knows nothing.
    await sql`delete from inbox where random() < 0.5`.execute(db);
    await sql`update outbox set state = 'pending', published_at = null where destination = 'bus'`.execute(db);
    await lookAgain(db);
    await eventually(async () => {
      const { rows: counted } = await sql<{ n: number }>`
        select count(*)::int as n from inbox where handler_name = 'integration.translate'`.execute(db);
      return counted[0]?.n === 40 ? true : undefined;
    });
    const last = await movingUser(service, 0);
    await eventually(async () => (sequencesOf(await entries(), last).length === 1 ? true : undefined));
    const read = await entries();
    for (const user of users) expect(sequencesOf(read, user)).toEqual(upTo(10));
    expect(read).toHaveLength(41);
    expect((await rows()).every(({ state }) => state === 'done')).toBe(true);
    expect(read.map(({ event }) => event).join('')).not.toContain('@');
  });

  it('gets all of it in order once Redis is back, and no attempt was burnt while it was away', async () => {
    await holdDestination(service.parts.db, destination, true);
    const user = await movingUser(service, 9);
    await untilRows((all) => all.length === 10);
    proxy.cut();
    await holdDestination(service.parts.db, destination, false);
    await untilRows((all) => all.some(({ last_error }) => last_error !== null));
    expect((await rows()).map(({ state, attempts }) => [state, attempts])).toEqual(upTo(10).map(() => ['pending', 0]));
    proxy.mend();
    expect(sequencesOf(await untilEntries(10), user)).toEqual(upTo(10));
    await untilRows((all) => all.every(({ state }) => state === 'done'));
    expect((await rows()).map(({ attempts }) => attempts)).toEqual(upTo(10).map(() => 1));
  });

  it('gets an event whose answer was lost again, under the same id, and keeps the order', async () => {
    await holdDestination(service.parts.db, destination, true);
    const user = await movingUser(service, 2);
    await untilRows((all) => all.length === 3);
    proxy.loseAnswerTo('com.athyper.user.created.v1');
    await holdDestination(service.parts.db, destination, false);
    const read = await untilEntries(4);
    expect(sequencesOf(read, user)).toEqual([1, 1, 2, 3]);
    expect(read[0]).toEqual(read[1]);
    await untilRows((all) => all.every(({ state, attempts }) => state === 'done' && attempts === 1));
  });

  it('is filled again by command, in order and under the same ids, after Redis has lost it', async () => {
    const users = await Promise.all(Array.from({ length: 3 }, async () => await movingUser(service, 4)));
    const before = await untilEntries(15);
    await untilRows((all) => all.every(({ state }) => state === 'done'));
    await admin.del(destination);
    const { db } = service.parts;
    const resend = parseOutboxCommand(['resend', destination, '--since', new Date(Date.now() - 600_000).toISOString()]);
    expect(await runOutboxCommand(db, resend)).toBe('15 deliveries of integration-events will be made again.\n');
    const after = await untilEntries(15);
    await untilRows((all) => all.every(({ state }) => state === 'done'));
    for (const user of users) expect(sequencesOf(after, user)).toEqual(upTo(5));
    expect(after.map(({ event }) => event).toSorted()).toEqual(before.map(({ event }) => event).toSorted());

    const nothing = parseOutboxCommand([
      'resend',
      destination,
      '--since',
      new Date(Date.now() + 600_000).toISOString(),
    ]);
    expect(await runOutboxCommand(db, nothing)).toBe('0 deliveries of integration-events will be made again.\n');
  });

  it('is trimmed by age and never by length', async () => {
    const old = Date.now() - 8 * 24 * 3_600_000;
    // Redis trims whole nodes, of 100 entries unless it is configured otherwise.
    for (let n = 0; n < 200; n += 1) await admin.xadd(destination, `${old}-${n + 1}`, 'id', 'old');
    for (let n = 0; n < 200; n += 1) await admin.xadd(destination, `${Date.now() - 60_000}-${n + 1}`, 'id', 'young');
    await movingUser(service, 0);
    await eventually(async () => ((await entries()).some(({ tenant }) => tenant === 'acme') ? true : undefined));
    const ids = (await entries()).map(({ id }) => id);
    expect(ids.filter((id) => id === 'young')).toHaveLength(200);
    expect(ids.filter((id) => id === 'old').length).toBeLessThan(200);
  });
});
