// Reads the text format of Prometheus, as a scrape gets it.

export type Scrape = Readonly<{
  /** Undefined where there is no such line. Labels in any order; those of a histogram by `_count` and `_sum`. */
  value(name: string, labels?: Readonly<Record<string, string>>): number | undefined;
  /** Each label set of a metric. */
  labelsOf(name: string): readonly Readonly<Record<string, string>>[];
}>;

const line = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const label = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export function readMetrics(text: string): Scrape {
  const samples = text.split('\n').flatMap((each) => {
    const [, name, given = '', value] = line.exec(each) ?? [];
    if (name === undefined || value === undefined) return [];
    const labels = Object.fromEntries([...given.matchAll(label)].map(([, key, text]) => [key ?? '', text ?? '']));
    return [{ name, labels, value: value === 'Nan' ? Number.NaN : Number(value) }];
  });
  return {
    value: (name, labels = {}) =>
      samples.find(
        (sample) =>
          sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value),
      )?.value,
    labelsOf: (name) => samples.filter((sample) => sample.name === name).map((sample) => sample.labels),
  };
}

export async function scrape(url: string): Promise<Scrape> {
  const response = await fetch(`${url}/metrics`, { headers: { Connection: 'close' } });
  if (response.status !== 200) throw new Error(`/metrics answers ${response.status}`);
  return readMetrics(await response.text());
}
