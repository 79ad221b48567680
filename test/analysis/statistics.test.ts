import {
  bootstrapMean,
  errorRateDifference,
  mean,
  pairedBootstrap,
  quantile,
  standardDeviation,
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
