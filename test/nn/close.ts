/** Inputs and comparisons that the tests of single ops share. */
import type { NdArray } from '../../lib/nn/call';

/** Uniform in (-1, 1), the same in every run. */
export function numbers(shape: number[], salt = 1): NdArray {
  let state = (salt * 2654435761) >>> 0;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
  return { shape, data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next) };
}

/** Largest difference in units of the largest expected entry. */
export function distance(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  expect(actual.length).toBe(expected.length);
  let [difference, size] = [0, 1e-30];
  for (let i = 0; i < expected.length; i++) {
    const d = Math.abs(actual[i] - expected[i]);
    difference = Number.isNaN(d) ? Number.POSITIVE_INFINITY : Math.max(difference, d);
    size = Math.max(size, Math.abs(expected[i]));
  }
  return difference / size;
}

/** Float32 sums of some thousand terms against float64: 3e-6 of the largest entry. */
export function expectClose(actual: NdArray, expected: ArrayLike<number>, tolerance = 3e-6): void {
  expect(distance(actual.data, expected)).toBeLessThan(tolerance);
}
