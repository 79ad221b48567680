import { CrossSums } from '../../lib/analysis/cross-sums';
import { layerDrift } from '../../lib/analysis/drift';
import { symmetricEigen } from '../../lib/analysis/linear-algebra';
import { rankMe } from '../../lib/analysis/rank';
import { Philox } from '../../lib/data/philox';

const normal = (count: number, seed: number) => {
  const random = new Philox(seed);
  return Float64Array.from({ length: count }, () => random.normal());
};

const rank = (x: Float32Array | Float64Array, d: number) => {
  const sums = new CrossSums(d, d);
  sums.add(x, x);
  return rankMe(sums);
};

/** r orthonormal rows of [d], each repeated with both signs: a matrix of rank r with equal singular values. */
async function isotropic(r: number, d: number): Promise<Float64Array> {
  const sums = new CrossSums(d, d);
  const x = normal(3 * d * d, r);
  sums.add(x, x);
  const { vectors } = await symmetricEigen(sums.covariance());
  const rows = vectors.data.subarray(0, r * d);
  return Float64Array.from([...rows, ...rows.map((value) => -value)]);
}

test.each([1, 2, 7, 31, 64])('RankMe of a rank-%i isotropic matrix is its rank', async (r) => {
  const x = await isotropic(r, 64);
  expect(Math.abs((await rank(x, 64)) - r)).toBeLessThan(1e-3);
  expect(Math.abs((await rank(Float32Array.from(x), 64)) - r)).toBeLessThan(1e-3);
});

test('RankMe is exp of the entropy of the singular values', async () => {
  // singular values 3 and 1 of two orthogonal columns: p = 3/4, 1/4
  const x = Float64Array.from([3, 0, 0, 1]);
  expect(await rank(x, 2)).toBeCloseTo(Math.exp(-(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25))), 10);
});

test('RankMe of features that are all zero is 0, and does not depend on their scale', async () => {
  expect(await rank(new Float32Array(20), 4)).toBe(0);
  const x = normal(400, 1);
  const scaled = x.map((value) => 1000 * value);
  expect(await rank(x, 8)).toBeCloseTo(await rank(scaled, 8), 8);
});

test('a layer that has not moved has CKA 1 and distance 0 to itself', () => {
  const x = normal(300, 2);
  const { cka, cosineDistance } = layerDrift(x, x.slice(), 60);
  expect(cka).toBeCloseTo(1, 12);
  expect(cosineDistance).toBeCloseTo(0, 12);
});

test('a rotation moves the cosine distance alone; new features move both', () => {
  const x = normal(4000, 3);
  const turned = x.map((_, i) => (i % 2 ? x[i - 1] : -x[i + 1])); // by 90 degrees
  expect(layerDrift(x, turned, 2000).cka).toBeCloseTo(1, 10);
  expect(layerDrift(x, turned, 2000).cosineDistance).toBeCloseTo(1, 12);
  expect(Math.abs(layerDrift(x, normal(4000, 4), 2000).cka)).toBeLessThan(0.05);
  const opposite = x.map((value) => -value);
  expect(layerDrift(x, opposite, 2000).cosineDistance).toBeCloseTo(2, 12);
});

test('features of other frames are refused', () => {
  expect(() => layerDrift(normal(10, 5), normal(12, 5), 2)).toThrow(expect.objectContaining({ code: 'HK_SHAPE' }));
});
