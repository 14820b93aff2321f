// A relay that is killed with -9 after it has added an event to the stream, and before it has noted that.
import { Redis } from 'ioredis';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { integrationQueue } from '../../../src/domain/integration-event.ts';
import { holdDestination } from '../../../src/outbox/outbox-admin.ts';
import { letLeasesRunOut } from '../../support/delivery-books.ts';
import { movingUser, readStream, sequencesOf } from '../../support/integration-events.ts';
import { startOwnRedis, type OwnRedis } from '../../support/redis.ts';
import { createRoleProcesses, type RoleProcesses } from '../../support/role-process.ts';
import { eventually, startSagaService, type SagaService } from '../../support/saga-service.ts';
import { startTcpProxy, type Between, type TcpProxy } from '../../support/tcp-proxy.ts';

let redis: OwnRedis;
let admin: Redis;
let proxy: TcpProxy;
let service: SagaService;
let roles: RoleProcesses;

/** What adds this event arrives, and nothing comes back over that connection from then on. */
function nothingAfter(text: string): Between {
  let isMute = false;
  return {
    fromClient(bytes) {
      isMute ||= bytes.includes(text);
      return bytes;
    },
    fromServer: (bytes) => (isMute ? Buffer.alloc(0) : bytes),
  };
}

beforeEach(async () => {
  redis = await startOwnRedis();
  admin = new Redis(redis.url);
  const target = { host: '127.0.0.1', port: Number(new URL(redis.url).port) };
  proxy = await startTcpProxy(target, () => nothingAfter('com.athyper.user.created.v1'));
  service = await startSagaService({ worker: false, relay: false, environment: { REDIS_URL: redis.url } });
  // No saga of the user is wanted.
  await holdDestination(service.parts.db, 'temporal', true);
  roles = createRoleProcesses(service.environment);
});
afterEach(async () => {
  await roles.stop();
  await service.stop();
  await proxy.close();
  admin.disconnect();
  await redis.stop();
});

const deliveries = async () =>
  await service.parts.db
    .selectFrom('outbox')
    .select(['state', 'attempts'])
    .where('destination', '=', integrationQueue)
    .orderBy('version')
    .execute();

it('leaves the event twice under one id, and nothing is missing or out of order', async () => {
  const { db } = service.parts;
  await holdDestination(db, integrationQueue, true);
  await roles.start('consumer');
  const relay = await roles.start('relay', { REDIS_URL: `redis://127.0.0.1:${proxy.port}` });
  const user = await movingUser(service, 9);
  await eventually(async () => ((await deliveries()).length === 10 ? true : undefined), 60_000);
  await holdDestination(db, integrationQueue, false);
  await eventually(async () => ((await readStream(admin)).length === 1 ? true : undefined));
  await relay.kill();
  expect((await deliveries())[0]).toEqual({ state: 'pending', attempts: 1 });

  await letLeasesRunOut({ db });
  await roles.start('relay');
  await eventually(
    async () => ((await deliveries()).every(({ state }) => state === 'done') ? true : undefined),
    60_000,
  );
  const entries = await readStream(admin);
  expect(sequencesOf(entries, user)).toEqual([1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(entries[0]).toEqual(entries[1]);
  expect((await deliveries()).map(({ attempts }) => attempts)).toEqual([2, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
});
