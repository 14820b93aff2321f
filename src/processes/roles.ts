// The roles, each from its parts to something that runs and stops.
import { createHealthApp, type ReadinessChecks } from '../http/health-routes.ts';
import type { Settings } from '../platform/config.ts';
import { runCleanUp } from '../outbox/clean-up.ts';
import { listen } from '../platform/http-server.ts';
import { stopAll, type Running } from '../platform/lifecycle.ts';
import type { Logger } from '../platform/logger.ts';
import { startApi } from './api.ts';
import { startConsumer } from './consumer.ts';
import type { Extension } from './extension.ts';
import { startJobs } from './jobs.ts';
import { guardLog } from './log-guard.ts';
import { createParts, type Parts } from './parts.ts';
import { keepReconcileSchedule } from './reconcile-schedule.ts';
import { allReadiness, apiReadiness, consumerReadiness, relayReadiness, workerReadiness } from './readiness.ts';
import { startRelay } from './relay.ts';
import { sampleMetrics } from './sampled-metrics.ts';
import { startSubscriptions } from './subscriptions.ts';
import { startWebhooks } from './webhooks.ts';
import { installTemporalRuntime, startWorker } from './worker.ts';

/**
 * Whoever calls the API, and Temporal with a step, has given up by then. The other roles have batches whose statements may
 * last as long as the server lets them.
 */
const callersPatienceMilliseconds = 20_000;

export type ServiceRole = 'api' | 'worker' | 'relay' | 'consumer' | 'all';

export type RoleOptions = Readonly<{ logger?: Logger; extensions?: readonly Extension[] }>;

/**
 * Starts one role. What stops it stops first what takes on work, then what does it, then the connections.
 * @throws StartupError where a port is taken, the log is one of another cluster, the workflow bundle does not fit, or an extension clashes
 */
export async function startRole(
  role: ServiceRole,
  settings: Settings,
  { logger, extensions }: RoleOptions = {},
): Promise<Running> {
  const parts = createParts(settings, {
    role,
    runsLoops: role === 'relay' || role === 'all',
    longestSilenceMilliseconds: role === 'api' || role === 'worker' ? callersPatienceMilliseconds : undefined,
    extensions,
    ...(logger === undefined ? {} : { logger }),
  });
  const started: Running[] = [];
  try {
    started.unshift(await guardLog(parts));
    for await (const running of startParts(role, parts)) started.unshift(running);
  } catch (error) {
    await stopAll([...started, { stop: parts.close }]);
    throw error;
  }
  parts.logger.info({ runs: role }, 'started');
  return { stop: async () => await stopAll([...started, { stop: parts.close }]) };
}

/** In the order of starting; stopped in reverse. */
async function* startParts(role: ServiceRole, parts: Parts): AsyncGenerator<Running> {
  switch (role) {
    case 'api':
      yield sampleMetrics(parts, { database: true });
      yield await startApi(parts, apiReadiness(parts));
      break;
    case 'worker': {
      installTemporalRuntime(parts.logger);
      const worker = startWorker(parts);
      yield worker;
      yield keepReconcileSchedule(parts);
      yield await startHealth(parts, workerReadiness(parts, worker));
      break;
    }
    case 'relay': {
      const relay = startRelay(parts);
      yield relay;
      const webhooks = startWebhooks(parts);
      yield webhooks;
      const subscriptions = startSubscriptions(parts);
      yield subscriptions;
      // Jobs are run where the handlers are.
      const jobs = parts.settings.redisUrl === undefined ? startJobs(parts) : undefined;
      if (jobs !== undefined) yield jobs;
      yield runCleanUp(parts);
      const relayLoops = { ...relay.loops, webhook: webhooks.loop };
      const loops = { relay: relayLoops, subscriptions: subscriptions.loops, jobs: jobs?.loops };
      yield sampleMetrics(parts, { database: true, loops, redis: parts.settings.redisUrl });
      yield await startHealth(parts, relayReadiness(parts, loops));
      break;
    }
    case 'consumer': {
      const consumer = startConsumer(parts);
      yield consumer;
      const jobs = startJobs(parts);
      yield jobs;
      yield sampleMetrics(parts, { redis: parts.settings.redisUrl });
      yield await startHealth(parts, consumerReadiness(parts, { bus: consumer, jobs: jobs.loops }));
      break;
    }
    case 'all': {
      installTemporalRuntime(parts.logger);
      const worker = startWorker(parts);
      yield worker;
      yield keepReconcileSchedule(parts);
      // One process that is everything runs the handlers as well, whatever the bus.
      if (parts.settings.redisUrl !== undefined) yield startConsumer(parts);
      const relay = startRelay(parts);
      yield relay;
      const webhooks = startWebhooks(parts);
      yield webhooks;
      const subscriptions = startSubscriptions(parts);
      yield subscriptions;
      const jobs = startJobs(parts);
      yield jobs;
      yield runCleanUp(parts);
      const relayLoops = { ...relay.loops, webhook: webhooks.loop };
      const loops = { relay: relayLoops, subscriptions: subscriptions.loops, jobs: jobs.loops };
      yield sampleMetrics(parts, { database: true, loops, redis: parts.settings.redisUrl });
      yield await startApi(parts, allReadiness(parts, { ...loops, worker }));
    }
  }
}

/** Roles without HTTP of their own answer probes on HEALTH_PORT, where it is set. */
async function startHealth({ settings, metricsRegistry: metrics }: Parts, checks: ReadinessChecks): Promise<Running> {
  if (settings.healthPort === undefined) return { stop: async () => {} };
  const { healthPort: port, host } = settings;
  return await listen(createHealthApp({ checks, metrics }), { port, host, variable: 'HEALTH_PORT' });
}
