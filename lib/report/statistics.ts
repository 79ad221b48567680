/** The few statistics of the report. */
import { mean as meanOf, standardDeviation, studentQuantile } from '../analysis/statistics';
import type { FineTuning } from './read';

export interface Estimate {
  mean: number;
  /** 95 % interval (Student's t over seeds); equal to the mean when there is one seed. */
  low: number;
  high: number;
  n: number;
}

/** Mean with its 95 % interval. */
export function estimate(values: number[]): Estimate {
  const n = values.length;
  const mean = meanOf(values);
  if (n < 2) return { mean, low: mean, high: mean, n };
  const half = (studentQuantile(0.95, n - 1) * standardDeviation(values)) / Math.sqrt(n);
  return { mean, low: Math.max(0, mean - half), high: mean + half, n };
}

/** What differs between fine-tunings of one run beside how they begin: what rests at first and how much is transcribed. */
export function protocolOf({ freeze, labelMinutes }: FineTuning): string {
  return `${freeze === 'all' ? ', all frozen at first' : ''}${labelMinutes ? `, ${labelMinutes} min of labels` : ''}`;
}

/** What differs between fine-tunings of one sweep, seeds aside. */
export function variantName(run: FineTuning): string {
  const start = run.random ? 'random initialisation' : run.dropTop > 0 ? `drop ${run.dropTop}` : `k = ${run.resetTop}`;
  return `${start}${protocolOf(run)}`;
}

/** Fine-tunings grouped by variant: k rising, then drops, then the random control. */
export function groupVariants(runs: FineTuning[]): { name: string; runs: FineTuning[] }[] {
  const groups = new Map<string, FineTuning[]>();
  const order = (run: FineTuning) => (run.random ? 2e6 : run.dropTop > 0 ? 1e6 + run.dropTop : run.resetTop);
  for (const run of [...runs].sort((a, b) => order(a) - order(b) || a.seed - b.seed)) {
    const name = variantName(run);
    groups.set(name, [...(groups.get(name) ?? []), run]);
  }
  return [...groups].map(([name, members]) => ({ name, runs: members }));
}

/** The layer with the highest value of `metric`, or undefined when no layer has it. */
export function bestLayer<K extends string>(
  layers: ({ layer: number } & Partial<Record<K, number>>)[] | undefined,
  metric: K,
): { layer: number; value: number } | undefined {
  let best: { layer: number; value: number } | undefined;
  for (const row of layers ?? []) {
    const value = row[metric];
    if (typeof value === 'number' && (!best || value > best.value)) best = { layer: row.layer, value };
  }
  return best;
}

/** The last analysis of each iteration. */
export function lastOfEachIteration<T extends { iteration: number }>(analyses: T[]): T[] {
  return [...new Map(analyses.map((analysis) => [analysis.iteration, analysis])).values()];
}
