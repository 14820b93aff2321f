// What is the case in PostgreSQL and Redis, and how old the loops are, as gauges: sampled on a timer, never by a scrape.
import { sql } from 'kysely';
import { defaultPrefix } from '../bus/redis-streams.ts';
import { readStreamBacklog } from '../bus/stream-backlog.ts';
import { eventCounters, readEventCounters, type EventCount, type EventCounter } from '../handlers/event-counters.ts';
import { readLogHorizon, type LogHorizon } from '../event-store/log-horizon.ts';
import { jobCatalogue } from '../domain/job-catalogue.ts';
import { listSubscriptions, mostCounted, type SubscriptionState } from '../event-store/subscription-list.ts';
import { readJobFigures, type JobFigures } from '../jobs/job-figures.ts';
import { readFoldedFigures, readOutboxFigures, type OutboxFigures } from '../outbox/outbox-figures.ts';
import { readLoopAges, type LoopAge } from '../outbox/outbox-rows.ts';
import type { Db } from '../platform/database.ts';
import { stopAll, type Running } from '../platform/lifecycle.ts';
import type { MetricsRegistry } from '../platform/metrics.ts';
import { connectRedis } from '../platform/redis.ts';
import { afterDeadLetter } from '../sagas/event-routes.ts';
import { showJobs } from './job-metrics.ts';
import { webhookPrefix } from '../webhooks/destination.ts';
import { countEndpoints, type EndpointCounts } from '../webhooks/endpoint-state.ts';
import { allWebhooks } from '../webhooks/webhook-dispatcher.ts';
import type { Parts } from './parts.ts';
import type { Loops } from './readiness.ts';
import { runSampler, type Sampler, type SamplerOptions } from './sampler.ts';

/** A look at the database that takes longer is given up: the metrics then grow old, and nothing else suffers. */
const statementMilliseconds = 5_000;

type DatabaseSample = Readonly<{
  outbox: readonly OutboxFigures[];
  horizon: LogHorizon;
  subscriptions: readonly SubscriptionState[];
  loops: readonly LoopAge[];
  counts: readonly EventCount[];
  jobs: readonly JobFigures[];
  endpoints: EndpointCounts;
}>;

export type WhatToSample = Readonly<{
  /** Outbox, log, subscriptions and jobs. */
  database?: boolean;
  /** Of a process that runs the relay; others show what it has noted in the database. */
  loops?: Readonly<{ relay: Loops; subscriptions: Loops }>;
  /** The bus, where it has one: its URL. */
  redis?: string | undefined;
  everyMilliseconds?: number;
}>;

/** Once per process. What stops it stops the looking; `/metrics` then shows what was seen last. */
export function sampleMetrics(parts: Parts, what: WhatToSample): Running {
  const { database = false, redis, everyMilliseconds = 5_000 } = what;
  const options = { logger: parts.logger, everyMilliseconds };
  const sources = [
    ...(database
      ? [{ source: 'postgresql', sampler: sampleDatabase(parts, what.loops, { ...options, source: 'postgresql' }) }]
      : []),
    ...(redis === undefined
      ? []
      : [{ source: 'redis', sampler: sampleRedis(parts, redis, { ...options, source: 'redis' }) }]),
  ];
  parts.metricsRegistry.gauge(
    {
      name: 'metrics_sample_age_seconds',
      help: 'Since the sampled metrics of this source were true. It grows while the source is away.',
      labels: ['source'],
    },
    () => sources.map(({ source, sampler }) => [{ source }, sampler.ageSeconds()]),
  );
  return { stop: async () => await stopAll(sources.map(({ sampler }) => sampler)) };
}

function sampleDatabase(
  { db, metricsRegistry: metrics }: Parts,
  ownLoops: WhatToSample['loops'],
  options: SamplerOptions,
): Sampler<DatabaseSample> {
  const sampler = runSampler(async () => await lookAt(db), options);
  showOutbox(metrics, () => sampler.latest()?.outbox ?? []);
  showEndpoints(metrics, () => sampler.latest()?.endpoints);
  showLog(metrics, sampler);
  showLoops(metrics, sampler, ownLoops);
  showCounts(metrics, () => sampler.latest()?.counts ?? []);
  showJobs(metrics, () => sampler.latest()?.jobs ?? []);
  return sampler;
}

/** One after the other on one connection, in one transaction that writes nothing and so holds nobody back. */
async function lookAt(db: Db): Promise<DatabaseSample> {
  return await db.transaction().execute(async (tx) => {
    await sql`select set_config('statement_timeout', ${`${statementMilliseconds}ms`}, true)`.execute(tx);
    return {
      outbox: [
        ...(await readOutboxFigures(tx, Object.keys(afterDeadLetter))),
        await readFoldedFigures(tx, { prefix: webhookPrefix, label: allWebhooks }),
      ],
      horizon: await readLogHorizon(tx),
      subscriptions: await listSubscriptions(tx),
      loops: await readLoopAges(tx),
      counts: await readEventCounters(tx),
      jobs: await readJobFigures(tx, Object.keys(jobCatalogue)),
      endpoints: await countEndpoints(tx),
    };
  });
}

function showOutbox(metrics: MetricsRegistry, latest: () => readonly OutboxFigures[]): void {
  const show = (name: string, help: string, valueOf: (figures: OutboxFigures) => number): void =>
    metrics.gauge({ name, help, labels: ['destination'] }, () =>
      latest().map((figures) => [{ destination: figures.destination }, valueOf(figures)]),
    );
  show('outbox_pending', 'Deliveries that wait or are under way.', ({ pending }) => pending);
  show(
    'outbox_oldest_pending_seconds',
    'Age of the oldest of them; 0 where none waits. The one to alert on.',
    ({ oldestPendingSeconds }) => oldestPendingSeconds,
  );
  show('outbox_dead', 'Dead letters.', ({ dead }) => dead);
  show(
    'outbox_blocked_aggregates',
    'Aggregates whose deliveries wait behind a dead letter.',
    ({ blockedAggregates }) => blockedAggregates,
  );
  show('outbox_paused', '1 where an operator holds the destination.', ({ paused }) => Number(paused));
}

function showCounts(metrics: MetricsRegistry, latest: () => readonly EventCount[]): void {
  for (const [name, help] of Object.entries(eventCounters) as [EventCounter, string][]) {
    metrics.sampledCounter({ name, help, labels: ['tenant'] }, () =>
      latest()
        .filter((count) => count.name === name)
        .map(({ tenant, value }) => [{ tenant }, value]),
    );
  }
}

function showEndpoints(metrics: MetricsRegistry, latest: () => EndpointCounts | undefined): void {
  metrics.gauge(
    { name: 'webhook_endpoints', help: 'Webhook endpoints: enabled, throttled, disabled.', labels: ['status'] },
    () => Object.entries(latest() ?? {}).map(([status, count]) => [{ status }, count]),
  );
}

function showLog(metrics: MetricsRegistry, sampler: Sampler<DatabaseSample>): void {
  const show = (name: string, help: string, valueOf: (horizon: LogHorizon) => number): void =>
    metrics.gauge({ name, help, labels: [] }, () => {
      const horizon = sampler.latest()?.horizon;
      return horizon === undefined ? [] : [[{}, valueOf(horizon)]];
    });
  show(
    'log_horizon_lag_seconds',
    "Age of the transaction that holds back the log's readers; 0 where none does.",
    ({ lagSeconds }) => lagSeconds,
  );
  show(
    'db_oldest_xid_seconds',
    'Age of the oldest transaction that has written something, in any database of the cluster.',
    ({ oldestXidSeconds }) => oldestXidSeconds,
  );
  metrics.gauge(
    {
      name: 'subscription_lag_events',
      help: `Events that a subscription has not applied yet, counted up to ${mostCounted}.`,
      labels: ['name'],
    },
    () => (sampler.latest()?.subscriptions ?? []).map(({ name, lag }) => [{ name }, lag]),
  );
}

function showLoops(metrics: MetricsRegistry, sampler: Sampler<DatabaseSample>, ownLoops: WhatToSample['loops']): void {
  metrics.gauge(
    {
      name: 'relay_loop_age_seconds',
      help: "Since a destination's loop last came round: here, or in any relay where this process has none.",
      labels: ['destination'],
    },
    () =>
      ownLoops === undefined
        ? (sampler.latest()?.loops ?? []).map(({ destination, ageSeconds }) => [{ destination }, ageSeconds])
        : agesOf(ownLoops.relay).map(([destination, age]) => [{ destination }, age]),
  );
  metrics.gauge(
    {
      name: 'subscription_loop_age_seconds',
      help: "Since a subscription's loop last came round, in this process.",
      labels: ['name'],
    },
    () => agesOf(ownLoops?.subscriptions ?? {}).map(([name, age]) => [{ name }, age]),
  );
}

function sampleRedis(
  { metricsRegistry: metrics, logger }: Parts,
  url: string,
  options: SamplerOptions,
): Sampler<ReadonlyMap<number, number>> {
  const redis = connectRedis(url, { name: 'athyper-metrics', logger });
  const sampler = runSampler(async () => await readStreamBacklog(redis, defaultPrefix), options);
  metrics.gauge(
    {
      name: 'stream_pending',
      help: "Events in a partition's stream that no handler is done with.",
      labels: ['partition'],
    },
    () => [...(sampler.latest() ?? [])].map(([partition, length]) => [{ partition: String(partition) }, length]),
  );
  return {
    ...sampler,
    async stop() {
      await sampler.stop();
      redis.disconnect();
    },
  };
}

const agesOf = (loops: Loops): readonly (readonly [name: string, seconds: number])[] =>
  Object.entries(loops).flatMap(([name, loop]) => {
    const age = loop.loopAgeMilliseconds();
    return age === undefined ? [] : [[name, age / 1000] as const];
  });
