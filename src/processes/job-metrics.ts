// The jobs' figures as gauges.
import type { JobFigures } from '../jobs/job-figures.ts';
import type { MetricsRegistry } from '../platform/metrics.ts';

export function showJobs(metrics: MetricsRegistry, latest: () => readonly JobFigures[]): void {
  const show = (name: string, help: string, valueOf: (figures: JobFigures) => number): void =>
    metrics.gauge({ name, help, labels: ['name'] }, () =>
      latest().map((figures) => [{ name: figures.name }, valueOf(figures)]),
    );
  show('jobs_pending', 'Jobs that wait or are under way.', ({ pending }) => pending);
  show(
    'jobs_oldest_pending_seconds',
    'Age of the oldest of them; 0 where none waits. Grows while the other side is away.',
    ({ oldestPendingSeconds }) => oldestPendingSeconds,
  );
  show('jobs_dead', 'Jobs that are dead letters.', ({ dead }) => dead);
}
