// Metrics in the text format of Prometheus. One registry per process, handed to whoever counts; there is no global one.
import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';

/** A label's values must be few and known: a name from the code, never an id or a path. */
export type Labels<L extends string> = Readonly<Record<L, string>>;
type Definition<L extends string> = Readonly<{
  /** Of its own in the process; a count ends in `_total`, a time in `_seconds`. */
  name: string;
  help: string;
  labels: readonly L[];
}>;
export type Sample<L extends string> = readonly [labels: Labels<L>, value: number];

export type MetricsRegistry = Readonly<{
  counter<L extends string>(definition: Definition<L>): Readonly<{ add(labels: Labels<L>, by?: number): void }>;
  /** Of seconds. */
  histogram<L extends string>(
    definition: Definition<L>,
  ): Readonly<{ observe(labels: Labels<L>, seconds: number): void }>;
  /** `read` is called at each scrape and must answer from memory; what it leaves out is not shown. */
  gauge<L extends string>(definition: Definition<L>, read: () => readonly Sample<L>[]): void;
  /** Of what is counted elsewhere: `read` as for a gauge, and what it gives for the same labels never falls. */
  sampledCounter<L extends string>(definition: Definition<L>, read: () => readonly Sample<L>[]): void;
  contentType: string;
  text(): Promise<string>;
}>;

/** From a fast statement to the longest that a delivery may take. */
const buckets = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** With the metrics of the process itself: memory, processor, event loop. */
export function createMetricsRegistry(): MetricsRegistry {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const optionsOf = <L extends string>({ name, help, labels }: Definition<L>) => ({
    name,
    help,
    labelNames: labels,
    registers,
  });
  return {
    counter(definition) {
      const counter = new Counter(optionsOf(definition));
      return { add: (labels, by = 1) => counter.inc(labels, by) };
    },
    histogram(definition) {
      const histogram = new Histogram({ ...optionsOf(definition), buckets });
      return { observe: (labels, seconds) => histogram.observe(labels, seconds) };
    },
    gauge(definition, read) {
      const gauge = new Gauge({
        ...optionsOf(definition),
        collect() {
          gauge.reset();
          // Without labels it is always shown: not a number, as long as nobody knows it.
          if (definition.labels.length === 0) gauge.set(Number.NaN);
          for (const [labels, value] of read()) gauge.set(labels, value);
        },
      });
    },
    sampledCounter(definition, read) {
      const counter = new Counter({
        ...optionsOf(definition),
        collect() {
          counter.reset();
          for (const [labels, value] of read()) counter.inc(labels, value);
        },
      });
    },
    contentType: registry.contentType,
    text: async () => await registry.metrics(),
  };
}
