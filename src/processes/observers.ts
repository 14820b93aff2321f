// What relays, handlers and requests tell of themselves, turned into metrics: those parts know no Prometheus.
import type { HandlerObserver } from '../bus/handler-registry.ts';
import type { ObserveRequest } from '../http/protocol/measure-requests.ts';
import type { JobObserver } from '../jobs/run-job.ts';
import type { RelayObserver } from '../outbox/relay.ts';
import type { MetricsRegistry } from '../platform/metrics.ts';

export type Observers = Readonly<{
  relay(destination: string): RelayObserver;
  handlers: HandlerObserver;
  jobs: JobObserver;
  request: ObserveRequest;
  /** An endpoint was disabled by what it answers. */
  webhookDisabled: (why: 'gone' | 'failing') => void;
}>;

export function createObservers(metrics: MetricsRegistry): Observers {
  return {
    relay: relayObserver(metrics),
    handlers: handlerObserver(metrics),
    jobs: jobObserver(metrics),
    request: requestObserver(metrics),
    webhookDisabled: webhookObserver(metrics),
  };
}

function relayObserver(metrics: MetricsRegistry): Observers['relay'] {
  const seconds = metrics.histogram({
    name: 'outbox_publish_seconds',
    help: 'How long an attempt to deliver took, whatever came of it.',
    labels: ['destination'],
  });
  const attempts = metrics.counter({
    name: 'outbox_attempts_total',
    help: 'Attempts to deliver, by outcome: done, wait (too early), away (the destination), failed (comes again), dead.',
    labels: ['destination', 'outcome'],
  });
  const leases = metrics.counter({
    name: 'lease_lost_total',
    help: 'Deliveries whose lease had ended before they were recorded; each comes again.',
    labels: ['destination'],
  });
  return (destination) => ({
    attempted(outcome, took) {
      seconds.observe({ destination }, took);
      attempts.add({ destination, outcome });
    },
    leasesLost: (count) => leases.add({ destination }, count),
  });
}

function handlerObserver(metrics: MetricsRegistry): HandlerObserver {
  const labels = ['handler'] as const;
  const seconds = metrics.histogram({
    name: 'handler_seconds',
    help: 'How long a handler took, its commit included, whether it worked or failed.',
    labels,
  });
  const failures = metrics.counter({
    name: 'handler_failures_total',
    help: 'Runs of a handler that failed and were rolled back.',
    labels,
  });
  const duplicates = metrics.counter({
    name: 'inbox_duplicates_total',
    help: 'Events that came again to a handler that was done with them, and were left alone.',
    labels,
  });
  return ({ handler, outcome, seconds: took }) => {
    if (outcome === 'duplicate') duplicates.add({ handler });
    else seconds.observe({ handler }, took);
    if (outcome === 'failed') failures.add({ handler });
  };
}

function jobObserver(metrics: MetricsRegistry): JobObserver {
  const seconds = metrics.histogram({
    name: 'job_seconds',
    help: 'How long an attempt at a job took, whatever came of it.',
    labels: ['name'],
  });
  const attempts = metrics.counter({
    name: 'jobs_total',
    help: 'Attempts at jobs, by outcome: done, away (the other side), failed (comes again), dead, lost (handed back).',
    labels: ['name', 'outcome'],
  });
  return ({ name, outcome, seconds: took }) => {
    seconds.observe({ name }, took);
    attempts.add({ name, outcome });
  };
}

function requestObserver(metrics: MetricsRegistry): ObserveRequest {
  const seconds = metrics.histogram({
    name: 'http_request_seconds',
    help: 'How long a request took, by the pattern of its route. Status 499: the client had gone.',
    labels: ['route', 'method', 'status'],
  });
  return ({ route, method, status, seconds: took }) => seconds.observe({ route, method, status: String(status) }, took);
}

function webhookObserver(metrics: MetricsRegistry): Observers['webhookDisabled'] {
  const disabled = metrics.counter({
    name: 'webhook_endpoints_disabled_total',
    help: 'Webhook endpoints that were disabled: gone (they answered 410), failing (for days, and nothing else).',
    labels: ['why'],
  });
  return (why) => disabled.add({ why });
}
