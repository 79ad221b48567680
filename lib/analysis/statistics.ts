/**
 * Means and differences with intervals. Percentile bootstrap (Efron 1979) where there are many values; Student's t where the
 * values are a few seeds: resampling three numbers covers their mean in 75 % of the cases, not 95. Everything is deterministic:
 * the seed of a bootstrap is an option.
 */
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
  const [seeds, utterances] = sizeOfPairs(a, b);
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

/** A mean difference over seeds with its Student interval. */
export interface Difference {
  estimate: number;
  /** Ends of the interval; NaN when there is one value and so no measure of spread. */
  low: number;
  high: number;
  level: number;
  /** Two-sided probability of an estimate at least as far from 0 when there is no difference; NaN with one value. */
  p: number;
  seeds: number;
}

/** Mean of a[i] - b[i] over seeds, with its t interval: pairs share a seed. Throws HK_SHAPE when the lengths differ. */
export function pairedSeeds(a: readonly number[], b: readonly number[], level = 0.95): Difference {
  if (a.length !== b.length || a.length === 0) {
    throw new HubertkitError(
      'HK_SHAPE',
      `Paired seeds must be equally many, at least one; got ${a.length} and ${b.length}.`,
    );
  }
  const differences = a.map((value, i) => value - b[i]);
  const error = standardDeviation(differences) / Math.sqrt(a.length);
  return studentDifference(mean(differences), error, a.length - 1, { level, seeds: a.length });
}

/**
 * Difference of error rates (a - b) of two systems on the same utterances, over paired seeds. Seeds and utterances are crossed
 * random effects: variance = (of the seeds) + (of the utterances) - (of their interaction, counted in both), as Owen (2007, "The
 * pigeonhole bootstrap") has it, with Satterthwaite's degrees of freedom. Where neither seeds nor utterances differ by more than
 * chance the interval is wider than it need be. One seed: the utterances alone.
 *
 * @param a one list for each seed: a[s][u]; all lists in the same order of utterances
 * @param b as a
 */
export function pairedErrorRates(
  a: readonly (readonly UtteranceErrors[])[],
  b: readonly (readonly UtteranceErrors[])[],
  level = 0.95,
): Difference {
  const [n, m] = sizeOfPairs(a, b);
  const reference = a[0].map((utterance) => utterance.reference);
  const symbols = Math.max(
    1,
    reference.reduce((sum, count) => sum + count, 0),
  );
  const errors = a.map((list, s) => list.map((utterance, u) => utterance.errors - b[s][u].errors));
  const rates = errors.map((list) => list.reduce((sum, value) => sum + value, 0) / symbols);
  const estimate = mean(rates);
  const small = m / Math.max(1, m - 1) / symbols ** 2;
  const deviation = reference.map((count, u) => mean(errors.map((list) => list[u])) - estimate * count);
  const ofUtterances = small * deviation.reduce((sum, value) => sum + value ** 2, 0);
  if (n === 1) return studentDifference(estimate, Math.sqrt(ofUtterances), m - 1, { level, seeds: 1 });
  const ofSeeds = standardDeviation(rates) ** 2 / n;
  const rest = errors.map((list, s) => list.map((value, u) => value - rates[s] * reference[u] - deviation[u]));
  const ofBoth = (small * rest.flat().reduce((sum, value) => sum + value ** 2, 0)) / (n * (n - 1));
  const variance = Math.max(ofSeeds, ofUtterances, ofSeeds + ofUtterances - ofBoth);
  const degrees = variance ** 2 / (ofSeeds ** 2 / (n - 1) + ofUtterances ** 2 / Math.max(1, m - 1));
  return studentDifference(estimate, Math.sqrt(variance), Math.max(n - 1, degrees || 0), { level, seeds: n });
}

function studentDifference(
  estimate: number,
  error: number,
  degrees: number,
  { level, seeds }: { level: number; seeds: number },
): Difference {
  if (degrees < 1) return { estimate, low: Number.NaN, high: Number.NaN, level, p: Number.NaN, seeds };
  const half = error * studentQuantile(level, degrees);
  const p = estimate === 0 ? 1 : studentTails(Math.abs(estimate) / error, degrees);
  return { estimate, low: estimate - half, high: estimate + half, level, p, seeds };
}

/**
 * Probability of |T| > t for Student's t with so many degrees of freedom (rounded down): Abramowitz and Stegun 26.7.3 and 26.7.4.
 */
export function studentTails(t: number, degrees: number): number {
  const nu = Math.min(1000, Math.floor(degrees));
  const angle = Math.atan(t / Math.sqrt(nu));
  const cosine = Math.cos(angle);
  const odd = nu % 2;
  let term = odd ? cosine : 1;
  let sum = nu === 1 ? 0 : term;
  for (let k = odd + 2; k < nu; k += 2) {
    term *= ((k - 1) / k) * cosine ** 2;
    sum += term;
  }
  const within = odd ? (2 / Math.PI) * (angle + Math.sin(angle) * sum) : Math.sin(angle) * sum;
  return Math.max(0, 1 - within);
}

/** The t that a share `level` of Student's distribution lies within, -t to t. */
export function studentQuantile(level: number, degrees: number): number {
  let [low, high] = [0, 1];
  while (studentTails(high, degrees) > 1 - level) high *= 2;
  for (let i = 0; i < 60; i++) {
    const middle = (low + high) / 2;
    if (studentTails(middle, degrees) > 1 - level) low = middle;
    else high = middle;
  }
  return high;
}

/** p values corrected for having looked at all of them (Holm 1979): the smallest counts m times, the next m - 1 times, ... */
export function holm(p: readonly number[]): number[] {
  const order = p.map((_, i) => i).sort((i, j) => p[i] - p[j]);
  const corrected = new Array<number>(p.length);
  let largest = 0;
  for (const [rank, i] of order.entries()) {
    largest = Math.min(1, Math.max(largest, (p.length - rank) * p[i]));
    corrected[i] = largest;
  }
  return corrected;
}

function sizeOfPairs(a: readonly (readonly unknown[])[], b: readonly (readonly unknown[])[]): [number, number] {
  const utterances = a[0]?.length ?? 0;
  const fits = b.length === a.length && [...a, ...b].every((list) => list.length === utterances);
  if (a.length > 0 && utterances > 0 && fits) return [a.length, utterances];
  throw new HubertkitError(
    'HK_SHAPE',
    `Paired systems need the same seeds and utterances; got ${a.length} and ${b.length} seeds of ${[...a, ...b].map((l) => l.length).join(', ')} utterances.`,
  );
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
