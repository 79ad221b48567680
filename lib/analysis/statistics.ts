/** Means and differences with percentile bootstrap intervals (Efron 1979). Everything is deterministic: the seed is an option. */
import { Philox } from '../data/philox';
import { HubertkitError } from '../errors';

export interface BootstrapOptions {
  /** Bootstrap samples. Default 2000. */
  resamples?: number;
  /** Coverage of the interval, between 0 and 1. Default 0.95. */
  level?: number;
  /** Default 1. */
  seed?: number;
}

export interface Interval {
  /** The statistic of the data themselves. */
  estimate: number;
  low: number;
  high: number;
  level: number;
  resamples: number;
}

export function mean(values: readonly number[]): number {
  let total = 0;
  for (const value of values) total += value;
  return total / values.length;
}

/** Sample standard deviation (n - 1); 0 for a single value. */
export function standardDeviation(values: readonly number[]): number {
  if (values.length < 2) return 0;
  const centre = mean(values);
  let total = 0;
  for (const value of values) total += (value - centre) ** 2;
  return Math.sqrt(total / (values.length - 1));
}

/** The value below which a share q of sorted values lies, interpolated between order statistics. */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const position = q * (sorted.length - 1);
  const below = Math.floor(position);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (position - below) * (sorted[above] - sorted[below]);
}

/** Percentile interval of what `resample` returns when it is given random numbers. */
function percentileInterval(estimate: number, resample: (random: Philox) => number, o: BootstrapOptions): Interval {
  const { resamples = 2000, level = 0.95, seed = 1 } = o;
  if (!(Number.isInteger(resamples) && resamples >= 1) || !(level > 0 && level < 1)) {
    throw new HubertkitError(
      'HK_ARGUMENT',
      `A bootstrap needs resamples >= 1 and 0 < level < 1; got resamples ${resamples}, level ${level}.`,
    );
  }
  const results = new Float64Array(resamples);
  for (let r = 0; r < resamples; r++) results[r] = resample(new Philox(seed, r));
  results.sort();
  const tail = (1 - level) / 2;
  return { estimate, low: quantile(results, tail), high: quantile(results, 1 - tail), level, resamples };
}

/** The mean of values and its bootstrap interval. */
export function bootstrapMean(values: readonly number[], options: BootstrapOptions = {}): Interval {
  if (values.length === 0) throw new HubertkitError('HK_ARGUMENT', 'A bootstrap needs at least one value; got none.');
  const resample = (random: Philox) => {
    let total = 0;
    for (let i = 0; i < values.length; i++) total += values[random.below(values.length)];
    return total / values.length;
  };
  return percentileInterval(mean(values), resample, options);
}

/** Mean of a[i] - b[i] and its interval: pairs are resampled together. Throws HK_SHAPE when the lengths differ. */
export function pairedBootstrap(a: readonly number[], b: readonly number[], options: BootstrapOptions = {}): Interval {
  if (a.length !== b.length) {
    throw new HubertkitError('HK_SHAPE', `Paired values must be equally many; got ${a.length} and ${b.length}.`);
  }
  return bootstrapMean(
    a.map((value, i) => value - b[i]),
    options,
  );
}

/** Errors and reference symbols of one utterance. */
export interface UtteranceErrors {
  errors: number;
  reference: number;
}

/**
 * Difference of error rates (a - b) of two systems on the same utterances, over paired runs (seeds): both the seeds and the
 * utterances are resampled, the same for both systems (Bisani and Ney, ICASSP 2004, with the seeds as a second level).
 *
 * @param a one list for each seed: a[s][u]; all lists in the same order of utterances
 * @param b as a
 */
export function errorRateDifference(
  a: readonly (readonly UtteranceErrors[])[],
  b: readonly (readonly UtteranceErrors[])[],
  options: BootstrapOptions = {},
): Interval {
  const seeds = a.length;
  const utterances = a[0]?.length ?? 0;
  const fits = b.length === seeds && [...a, ...b].every((list) => list.length === utterances);
  if (seeds === 0 || utterances === 0 || !fits) {
    throw new HubertkitError(
      'HK_SHAPE',
      `Paired systems need the same seeds and utterances; got ${seeds} and ${b.length} seeds of ${[...a, ...b].map((l) => l.length).join(', ')} utterances.`,
    );
  }
  const difference = (seedOf: (i: number) => number, chosen: Int32Array) => {
    let total = 0;
    for (let i = 0; i < seeds; i++) {
      const s = seedOf(i);
      total += rateOver(a[s], chosen) - rateOver(b[s], chosen);
    }
    return total / seeds;
  };
  const chosen = Int32Array.from({ length: utterances }, (_, i) => i);
  const estimate = difference((i) => i, chosen);
  const resample = (random: Philox) => {
    for (let i = 0; i < utterances; i++) chosen[i] = random.below(utterances);
    return difference(() => random.below(seeds), chosen);
  };
  return percentileInterval(estimate, resample, options);
}

function rateOver(list: readonly UtteranceErrors[], chosen: Int32Array): number {
  let errors = 0;
  let reference = 0;
  for (let i = 0; i < chosen.length; i++) {
    errors += list[chosen[i]].errors;
    reference += list[chosen[i]].reference;
  }
  return reference > 0 ? errors / reference : 0;
}
