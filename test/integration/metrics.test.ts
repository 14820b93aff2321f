// /metrics, judged by what has happened: failing handlers, dead letters, duplicates, subscriptions, slow requests, a
// transaction in another database, servers that are away.
import { sql } from 'kysely';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/domain/ids.ts';
import { findFreePort } from '../../src/embedded/children/free-port.ts';
import { holdDestination } from '../../src/outbox/outbox-admin.ts';
import { readSettings } from '../../src/platform/config.ts';
import { connectDatabase } from '../../src/platform/database.ts';
import { stopAll, type Running } from '../../src/platform/lifecycle.ts';
import { startApi } from '../../src/processes/api.ts';
import { createParts } from '../../src/processes/parts.ts';
import { startRelay } from '../../src/processes/relay.ts';
import { sampleMetrics } from '../../src/processes/sampled-metrics.ts';
import { startSubscriptions } from '../../src/processes/subscriptions.ts';
import { createTestDatabase } from '../support/database.ts';
import { createHttpClient, createOrder } from '../support/http-client.ts';
import { readMetrics, scrape, type Scrape } from '../support/metrics.ts';
import { startRedis } from '../support/redis.ts';
import { lookAgain } from '../support/relays.ts';
import { eventually, metadata, startSagaService, type SagaService } from '../support/saga-service.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';

const everyMilliseconds = 100;
/** Tests beside this one write in other databases of the cluster, and hold back its log by long transactions. */
const longestElsewhere = 50_000;
const handler = { handler: 'orders.record-payment' };
const bus = { destination: 'bus' };

let service: SagaService;
let running: readonly Running[];
let url: string;
beforeAll(async () => {
  const port = await findFreePort();
  url = `http://127.0.0.1:${port}`;
  const environment = { PORT: String(port), HOST: '127.0.0.1' };
  service = await startSagaService({ worker: false, relay: false, environment });
  const { parts } = service;
  const [relay, subscriptions] = [startRelay(parts), startSubscriptions(parts)];
  const loops = { relay: relay.loops, subscriptions: subscriptions.loops };
  const sampled = sampleMetrics(parts, { database: true, loops, everyMilliseconds });
  running = [await startApi(parts, {}), sampled, subscriptions, relay];
});
afterAll(async () => {
  await stopAll(running);
  await service.stop();
});

const until = async (holds: (metrics: Scrape) => boolean, milliseconds?: number): Promise<Scrape> =>
  await eventually(async () => {
    const metrics = await scrape(url);
    return holds(metrics) ? metrics : undefined;
  }, milliseconds);
const valueNow = async (name: string, labels: Record<string, string>): Promise<number> =>
  (await scrape(url)).value(name, labels) ?? 0;

/** An order's id that is none makes the handler's statement fail. */
async function paid(orderId: string = newId()): Promise<string> {
  const paymentId = newId();
  const payload = { paymentId, orderId, amount: 100, currency: 'EUR', method: 'pm_ok' };
  const common = { occurredAt: new Date(), aggregateId: paymentId, aggregateType: 'payment', metadata };
  const eventId = newId();
  await service.parts.store.append({ ...common, eventId, eventType: 'payment.completed', payload });
  return eventId;
}

describe('/metrics', () => {
  it('counts what is delivered and handled, and how long it took', async () => {
    const before = await valueNow('handler_seconds_count', handler);
    await paid();
    await until((now) => now.value('handler_seconds_count', handler) === before + 1);
    // Another handler of the event may take a moment longer.
    const metrics = await until((now) => (now.value('outbox_attempts_total', { ...bus, outcome: 'done' }) ?? 0) >= 1);
    expect(metrics.value('handler_seconds_sum', handler)).toBeGreaterThan(0);
    expect(metrics.value('outbox_publish_seconds_count', bus)).toBeGreaterThanOrEqual(1);
    expect(metrics.value('process_resident_memory_bytes')).toBeGreaterThan(0);
    await until((now) => now.value('outbox_pending', bus) === 0);
  });

  it('shows a handler that fails, the dead letter that comes of it, and what waits', async () => {
    const before = await valueNow('handler_failures_total', handler);
    await holdDestination(service.parts.db, 'bus', true);
    await until((metrics) => metrics.value('outbox_paused', bus) === 1);
    const eventId = await paid('no-id');
    await until((metrics) => metrics.value('outbox_pending', bus) === 1);
    await sql`update outbox set attempts = 8, created_at = now() - interval '1 minute' where id = ${eventId}`.execute(
      service.parts.db,
    );
    const waiting = await until((now) => (now.value('outbox_oldest_pending_seconds', bus) ?? 0) >= 60);
    expect(waiting.value('outbox_dead', bus)).toBe(0);
    expect(waiting.value('outbox_pending', { destination: 'temporal' })).toBe(0);
    expect(waiting.value('outbox_pending', { destination: 'integration-events' })).toBe(0);
    await holdDestination(service.parts.db, 'bus', false);
    // The ninth attempt, which is tried again, and the tenth, the last.
    await until((metrics) => metrics.value('outbox_attempts_total', { ...bus, outcome: 'failed' }) === 1);
    // Recorded only after it was counted, and with a back-off of minutes.
    await eventually(async () => {
      const { rows } = await sql`
        update outbox set next_attempt_at = now()
        where id = ${eventId} and attempts = 9 and locked_by is null returning id`.execute(service.parts.db);
      return rows.length === 1 ? true : undefined;
    });
    await lookAgain(service.parts.db);
    const dead = await until((metrics) => metrics.value('outbox_dead', bus) === 1);
    expect(dead.value('outbox_attempts_total', { ...bus, outcome: 'dead' })).toBe(1);
    expect(dead.value('handler_failures_total', handler)).toBe(before + 2);
    expect(dead.value('outbox_pending', bus)).toBe(0);
    expect(dead.value('outbox_paused', bus)).toBe(0);
    // Bus goes on past its dead letters.
    expect(dead.value('outbox_blocked_aggregates', bus)).toBe(0);
  });

  it('counts an event that comes again to a handler that is done with it', async () => {
    const before = await valueNow('inbox_duplicates_total', handler);
    await holdDestination(service.parts.db, 'bus', true);
    const eventId = await paid();
    // What a relay leaves that dies between the handler's commit and its own.
    await service.parts.db.insertInto('inbox').values({ handler_name: handler.handler, event_id: eventId }).execute();
    const handled = await valueNow('handler_seconds_count', handler);
    await holdDestination(service.parts.db, 'bus', false);
    const metrics = await until((now) => now.value('inbox_duplicates_total', handler) === before + 1);
    expect(metrics.value('handler_seconds_count', handler)).toBe(handled);
  });

  it('counts a lease that was lost', async () => {
    const { db } = service.parts;
    const held = Promise.withResolvers<void>();
    const entered = Promise.withResolvers<void>();
    const order = await createOrder(createHttpClient(url));
    // The handler waits for the order's row, and so does the delivery.
    const holder = db.transaction().execute(async (tx) => {
      await sql`select from orders where order_id = ${order} for update`.execute(tx);
      entered.resolve();
      await held.promise;
    });
    await entered.promise;
    const eventId = await paid(order);
    await eventually(async () => {
      const { rows } = await sql`select from outbox where id = ${eventId} and locked_by is not null`.execute(db);
      return rows.length === 1 ? true : undefined;
    });
    // As long as another relay has it.
    await sql`update outbox set locked_by = 'another', locked_until = now() + interval '1 second'
      where id = ${eventId}`.execute(db);
    held.resolve();
    await holder;
    await until((metrics) => metrics.value('lease_lost_total', bus) === 1);
    await lookAgain(db);
    await until((metrics) => metrics.value('outbox_pending', bus) === 0);
  });

  it(
    'shows loops that come round, and how far subscriptions are behind, exact beyond 2^53',
    { timeout: 2 * longestElsewhere },
    async () => {
      const name = 'orders.product-sales';
      await sql`
      insert into subscriptions (name, xid, position) values
        ('test.never-run', '0', 0), ('test.at-the-end', '18446744073709551615', 9223372036854775807)
      on conflict do nothing`.execute(service.parts.db);
      const events = (await service.parts.db.selectFrom('events').select('id').execute()).length;
      const metrics = await until(
        (now) =>
          now.value('subscription_lag_events', { name: 'test.never-run' }) === events &&
          now.value('subscription_lag_events', { name }) === 0,
        longestElsewhere,
      );
      expect(metrics.value('subscription_lag_events', { name: 'test.at-the-end' })).toBe(0);
      for (const destination of ['bus', 'temporal']) {
        expect(metrics.value('relay_loop_age_seconds', { destination })).toBeLessThan(30);
      }
      expect(metrics.value('subscription_loop_age_seconds', { name })).toBeLessThan(30);
      expect(metrics.value('metrics_sample_age_seconds', { source: 'postgresql' })).toBeLessThan(30);
    },
  );

  it('names requests by their routes, never by their paths', async () => {
    const client = createHttpClient(url);
    for (const orderId of [newId(), newId()]) await client.get(`/orders/${orderId}`);
    for (const path of ['/nowhere', `/${newId()}`, '/metrics', '/healthz']) {
      await fetch(`${url}${path}`, { headers: { Connection: 'close' } });
    }
    await client.post('/orders', '{');
    const found = { route: '/orders/:orderId', method: 'GET', status: '404' };
    const metrics = await until((now) => now.value('http_request_seconds_count', found) === 2);
    expect(metrics.value('http_request_seconds_count', { route: 'none', method: 'GET', status: '404' })).toBe(2);
    expect(metrics.value('http_request_seconds_count', { route: 'none', method: 'POST', status: '400' })).toBe(1);
    const routes = new Set(metrics.labelsOf('http_request_seconds_count').map(({ route }) => route));
    expect(routes).toEqual(new Set(['/orders', '/orders/:orderId', 'none']));
  });
});

describe('a transaction that sits idle in another database of the cluster', () => {
  it(
    'hides new events from the readers of the log and shows as the horizon’s lag, until the server ends it',
    { timeout: 3 * longestElsewhere },
    async () => {
      const other = await createTestDatabase();
      // As one of our processes, which the server ends after 15 s; once all is seen, sooner.
      const elsewhere = connectDatabase({
        url: other.url,
        poolSize: 1,
        applicationName: 'elsewhere',
        onIdleError: () => undefined,
      });
      const idle = Promise.withResolvers<void>();
      const looked = Promise.withResolvers<void>();
      const ended = Promise.withResolvers<void>();
      const writing = elsewhere.transaction().execute(async (tx) => {
        await sql`select pg_current_xact_id()`.execute(tx);
        idle.resolve();
        await looked.promise;
        await sql`select set_config('idle_in_transaction_session_timeout', '1s', true)`.execute(tx);
        await ended.promise;
        await sql`select 1`.execute(tx);
      });
      const outcome = writing.then(
        () => 'committed',
        () => 'ended by the server',
      );
      await idle.promise;
      const eventId = await paid();
      const isVisible = async (): Promise<boolean> =>
        (await service.parts.store.readLog({ limit: 1000 })).events.some((event) => event.eventId === eventId);
      for (const atLeast of [1, 2]) {
        const metrics = await until((now) => (now.value('log_horizon_lag_seconds') ?? 0) >= atLeast);
        expect(metrics.value('db_oldest_xid_seconds')).toBeGreaterThanOrEqual(atLeast);
        expect(await isVisible()).toBe(false);
      }
      // What is delivered does not wait for the log.
      await until((metrics) => metrics.value('outbox_pending', bus) === 0);

      looked.resolve();
      await eventually(async () => ((await isVisible()) ? true : undefined), longestElsewhere);
      await until((metrics) => (metrics.value('log_horizon_lag_seconds') ?? 5) < 2, longestElsewhere);
      ended.resolve();
      expect(await outcome).toBe('ended by the server');
      await elsewhere.destroy();
      await other.drop();
    },
  );
});

describe('a server that is away', () => {
  it('leaves /metrics with what was seen last, and its age', async () => {
    const redis = await startRedis();
    const database = await createTestDatabase();
    const target = new URL(database.url);
    const [postgresProxy, redisProxy] = await Promise.all([
      startTcpProxy({ host: target.hostname, port: Number(target.port) }),
      startTcpProxy({ host: new URL(redis.url).hostname, port: Number(new URL(redis.url).port) }),
    ]);
    target.hostname = '127.0.0.1';
    target.port = String(postgresProxy.port);
    const settings = readSettings('relay', { ...service.environment, DATABASE_URL: target.href });
    const parts = createParts(settings, { role: 'test', runsLoops: false });
    const redisUrl = `redis://127.0.0.1:${redisProxy.port}`;
    const sampled = sampleMetrics(parts, { database: true, redis: redisUrl, everyMilliseconds });
    const look = async (holds: (metrics: Scrape) => boolean): Promise<Scrape> =>
      await eventually(async () => {
        const metrics = readMetrics(await parts.metricsRegistry.text());
        return holds(metrics) ? metrics : undefined;
      });
    const ageOf = (metrics: Scrape, source: string): number =>
      metrics.value('metrics_sample_age_seconds', { source }) ?? Number.NaN;

    await look(
      (metrics) => metrics.value('outbox_pending', bus) === 0 && metrics.labelsOf('stream_pending').length === 8,
    );
    postgresProxy.cut();
    redisProxy.cut();
    const old = await look((metrics) => ageOf(metrics, 'postgresql') > 1 && ageOf(metrics, 'redis') > 1);
    expect(old.value('outbox_pending', bus)).toBe(0);
    expect(old.value('stream_pending', { partition: '7' })).toBeGreaterThanOrEqual(0);
    postgresProxy.mend();
    redisProxy.mend();
    await look((metrics) => ageOf(metrics, 'postgresql') < 1 && ageOf(metrics, 'redis') < 1);

    await sampled.stop();
    await parts.close();
    await Promise.all([postgresProxy.close(), redisProxy.close()]);
    await database.drop();
    await redis.stop();
  });
});
