import {
  bootstrapMean,
  errorRateDifference,
  holm,
  mean,
  pairedBootstrap,
  pairedErrorRates,
  pairedSeeds,
  quantile,
  standardDeviation,
  studentQuantile,
  studentTails,
} from '../../lib/analysis/statistics';
import { Philox } from '../../lib/data/philox';

test('mean, sample standard deviation and quantiles of known numbers', () => {
  expect(mean([1, 2, 6])).toBe(3);
  expect(standardDeviation([2, 4, 4, 4, 5, 5, 7, 9])).toBeCloseTo(Math.sqrt(32 / 7));
  expect(standardDeviation([5])).toBe(0);
  expect(quantile([0, 10, 20], 0.25)).toBe(5);
});

test('the same seed gives the same interval, another seed another one', () => {
  const values = [1.13, 4.57, 2.71, 8.09, 5.33, 7.91];
  expect(bootstrapMean(values, { seed: 3 })).toEqual(bootstrapMean(values, { seed: 3 }));
  expect(bootstrapMean(values, { seed: 3 }).low).not.toBe(bootstrapMean(values, { seed: 4 }).low);
});

test('the interval of a mean agrees with the normal approximation for many values', () => {
  const random = new Philox(7);
  const values = Array.from({ length: 400 }, () => random.normal() * 2 + 10);
  const { estimate, low, high } = bootstrapMean(values);
  const halfWidth = (1.96 * standardDeviation(values)) / 20;
  expect(estimate).toBeCloseTo(mean(values));
  expect(low).toBeCloseTo(estimate - halfWidth, 1);
  expect(high).toBeCloseTo(estimate + halfWidth, 1);
});

test('pairing removes what the pairs share', () => {
  const b = [10, 50, 90, 30];
  const { estimate, low, high } = pairedBootstrap(
    b.map((value) => value + 2),
    b,
  );
  expect([estimate, low, high]).toEqual([2, 2, 2]);
  expect(() => pairedBootstrap([1], [1, 2])).toThrow(expect.objectContaining({ code: 'HK_SHAPE' }));
});

test('a system with one error less in each utterance is better whatever is resampled', () => {
  const b = [3, 5, 4, 6].map((errors) => ({ errors, reference: 10 }));
  const a = b.map(({ errors, reference }) => ({ errors: errors - 1, reference }));
  const { estimate, low, high } = errorRateDifference([a, a], [b, b]);
  for (const value of [estimate, low, high]) expect(value).toBeCloseTo(-0.1);
});

test('a difference that comes from one seed of two has an interval that reaches the other', () => {
  const utterances = Array.from({ length: 20 }, () => ({ errors: 5, reference: 10 }));
  const better = utterances.map((u) => ({ ...u, errors: 3 }));
  const { estimate, low, high } = errorRateDifference([better, utterances], [utterances, utterances]);
  expect(estimate).toBeCloseTo(-0.1);
  expect(low).toBeCloseTo(-0.2);
  expect(high).toBeCloseTo(0);
});

test('systems that were not run on the same utterances are refused', () => {
  const one = [{ errors: 1, reference: 2 }];
  expect(() => errorRateDifference([one], [[...one, ...one]])).toThrow(expect.objectContaining({ code: 'HK_SHAPE' }));
});

test.each([
  [0.95, 1, 12.706204736174694],
  [0.95, 2, 4.302652729749462],
  [0.95, 5, 2.5705818356363146],
  [0.99, 8, 3.355387331333395],
  [0.95, 120, 1.9799304050824402],
])('Student quantile of %d with %d degrees of freedom is that of scipy', (level, degrees, expected) => {
  expect(studentQuantile(level, degrees)).toBeCloseTo(expected, 8);
});

test.each([
  [0.7, 1, 0.6111997755715705],
  [2.2, 2, 0.15880897580794018],
  [1.5, 7, 0.17729848698997],
  [3.1, 10, 0.011250657216083414],
])('Student tails beyond %d with %d degrees of freedom are those of scipy', (t, degrees, expected) => {
  expect(studentTails(t, degrees)).toBeCloseTo(expected, 10);
});

/** Share of simulated data sets whose interval holds the truth, which is 0. */
function coverage(sets: number, interval: (random: Philox, set: number) => { low: number; high: number }): number {
  let held = 0;
  for (let set = 0; set < sets; set++) {
    const { low, high } = interval(new Philox(11, set), set);
    if (low <= 0 && high >= 0) held++;
  }
  return held / sets;
}

const normals = (random: Philox, count: number) => Array.from({ length: count }, () => random.normal());

test('a bootstrap interval of 95 % holds the mean in 92 to 98 of 100 simulated data sets', () => {
  const share = coverage(300, (random, seed) => bootstrapMean(normals(random, 30), { resamples: 150, seed }));
  expect(share).toBeGreaterThan(0.92);
  expect(share).toBeLessThan(0.98);
});

test('the interval of three paired seeds holds the difference in 92 to 98 of 100 data sets, which resampling three does not', () => {
  const seeds = (random: Philox) => [normals(random, 3), normals(random, 3)] as const;
  const share = coverage(1000, (random) => pairedSeeds(...seeds(random)));
  expect(share).toBeGreaterThan(0.92);
  expect(share).toBeLessThan(0.98);
  const resampled = coverage(200, (random, seed) => pairedBootstrap(...seeds(random), { resamples: 100, seed }));
  expect(resampled).toBeLessThan(0.85);
});

test.each([
  ['seeds', 1, 0.2, 1, 0.98],
  ['utterances', 0.02, 3, 1, 0.98],
  ['both', 0.4, 3, 1, 0.98],
  ['neither (then it is wider than it need be)', 0, 0, 3, 1],
])('an error rate interval over 3 seeds and 30 utterances holds in at least 92 of 100 when %s differ', (...given) => {
  const [, ofSeed, ofUtterance, ofBoth, most] = given;
  const share = coverage(300, (random) => {
    const shared = normals(random, 30);
    const errors = Array.from({ length: 3 }, () => {
      const own = ofSeed * random.normal();
      return shared.map((u) => ({ errors: own + ofUtterance * u + ofBoth * random.normal(), reference: 10 }));
    });
    const none = errors.map((list) => list.map(() => ({ errors: 0, reference: 10 })));
    return pairedErrorRates(errors, none);
  });
  expect(share).toBeGreaterThan(0.92);
  expect(share).toBeLessThanOrEqual(most);
});

test('one seed has no interval over seeds, but one over its utterances', () => {
  expect(pairedSeeds([2], [1])).toMatchObject({ estimate: 1, low: Number.NaN, p: Number.NaN, seeds: 1 });
  const of = (errors: number[]) => [errors.map((count) => ({ errors: count, reference: 10 }))];
  const { estimate, low, high, seeds } = pairedErrorRates(of([2, 3, 5]), of([3, 4, 4]));
  expect([estimate, seeds]).toEqual([-1 / 30, 1]);
  expect(low).toBeLessThan(estimate);
  expect(high).toBeGreaterThan(0);
});

test('Holm counts the smallest p as often as there are comparisons, the next once less, and never orders them anew', () => {
  expect(holm([0.04, 0.01, 0.03, 0.005])).toEqual([0.06, 0.03, 0.06, 0.02]);
  expect(holm([0.5, 0.9])).toEqual([1, 1]);
  expect(holm([])).toEqual([]);
});
