import { type CcaSplits, covariances, pwcca, svcca } from '../../lib/analysis/cca';
import { CrossSums } from '../../lib/analysis/cross-sums';
import { Philox } from '../../lib/data/philox';

const normal = (count: number, seed: number) => {
  const random = new Philox(seed);
  return Float64Array.from({ length: count }, () => random.normal());
};

/** x [rows, from] times a random matrix [from, to], plus an offset. */
function affine(x: Float64Array, from: number, to: number, seed: number): Float64Array {
  const weights = normal(from * to, seed);
  const y = new Float64Array((x.length / from) * to);
  for (let i = 0; i < y.length; i++) {
    const row = Math.floor(i / to);
    y[i] = 5 * (i % to) - 30;
    for (let k = 0; k < from; k++) y[i] += x[row * from + k] * weights[k * to + (i % to)];
  }
  return y;
}

/** Thirds of the rows. */
function splits(x: Float64Array, dx: number, y: Float64Array, dy: number, pieces = 1): CcaSplits {
  const rows = x.length / dx;
  const part = (third: number) => {
    const sums = [new CrossSums(dx, dx), new CrossSums(dx, dy), new CrossSums(dy, dy)] as const;
    const [from, to] = [(rows * third) / 3, (rows * (third + 1)) / 3];
    for (let p = 0; p < pieces; p++) {
      const at = (q: number) => Math.round(from + ((to - from) * q) / pieces);
      const a = x.subarray(at(p) * dx, at(p + 1) * dx);
      const b = y.subarray(at(p) * dy, at(p + 1) * dy);
      sums[0].add(a, a);
      sums[1].add(a, b);
      sums[2].add(b, b);
    }
    return covariances(...sums);
  };
  return { train: part(0), dev: part(1), test: part(2) };
}

describe.each([
  ['PWCCA', pwcca],
  ['SVCCA', svcca],
])('%s', (name, cca) => {
  test('of a view with an invertible affine image of itself is 1', async () => {
    const x = normal(900 * 8, 1);
    const y = affine(x, 8, 8, 2);
    const { similarity, correlations } = await cca(splits(x, 8, y, 8), name === 'SVCCA' ? {} : { epsilons: [0] });
    expect(correlations.length).toBeLessThanOrEqual(8);
    expect(similarity).toBeGreaterThan(name === 'SVCCA' ? 0.97 : 1 - 1e-9); // SVCCA drops 1 % of either side
    expect(similarity).toBeLessThan(1 + 1e-9);
  });

  test('of a view with itself, rotated or not, is 1 with the chosen regularisation', async () => {
    const x = normal(900 * 6, 3);
    const turned = x.map((value, i) =>
      i % 6 < 2 ? 0.6 * value + (i % 2 ? -0.8 : 0.8) * x[i + (i % 2 ? -1 : 1)] : value,
    );
    expect((await cca(splits(x, 6, turned, 6))).similarity).toBeCloseTo(1, 6);
  });

  test('of independent views is about 0 on rows that were not fitted', async () => {
    const { similarity } = await cca(splits(normal(900 * 20, 4), 20, normal(900 * 20, 5), 20));
    expect(Math.abs(similarity)).toBeLessThan(0.1);
  });

  test('of views that share three of eight directions lies between', async () => {
    const x = normal(3000 * 8, 6);
    const other = normal(3000 * 8, 7);
    const y = affine(
      x.map((value, i) => (i % 8 < 3 ? value : other[i])),
      8,
      8,
      8,
    );
    const { similarity, correlations } = await cca(splits(x, 8, y, 8));
    expect(similarity).toBeGreaterThan(0.2);
    expect(similarity).toBeLessThan(0.6);
    if (name === 'PWCCA') expect([...correlations].filter((rho) => rho > 0.95)).toHaveLength(3);
  });

  test('does not depend on the pieces that the rows come in', async () => {
    const x = normal(600 * 5, 9);
    const y = affine(x, 5, 4, 10).map((value, i) => value + Math.sin(i));
    const { similarity } = await cca(splits(x, 5, y, 4, 7));
    expect(similarity).toBeCloseTo((await cca(splits(x, 5, y, 4))).similarity, 10);
  });

  test('of more dimensions than rows is held down by a regularisation from the development rows', async () => {
    const x = normal(180 * 50, 11);
    const y = x.filter((_, i) => i % 50 < 2).map((value, i) => value + 0.5 * Math.sin(17 * i));
    const parts = splits(x, 50, y, 2);
    const { similarity, epsilon } = await cca(parts, { epsilons: [1e-8, 1e-2, 1, 10] });
    expect(epsilon).toBeGreaterThan(1e-8);
    expect(similarity).toBeGreaterThan((await cca(parts, { epsilons: [1e-8] })).similarity);
  });

  test('a constant view, no candidates and sums over other rows are refused', async () => {
    const x = normal(90 * 3, 12);
    const constant = new Float64Array(90).fill(2);
    await expect(cca(splits(x, 3, constant, 1))).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
    await expect(cca(splits(x, 3, x, 3), { epsilons: [] })).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
    expect(() => new CrossSums(2.5, 3)).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
    const sums = new CrossSums(3, 3);
    expect(() => covariances(sums, sums, sums)).toThrow(expect.objectContaining({ code: 'HK_SHAPE' }));
  });
});

test('directions that hold little of X weigh little in PWCCA', async () => {
  const x = normal(1500 * 4, 13);
  const scaled = x.map((value, i) => (i % 4 === 0 ? 100 * value : value));
  const y = x.filter((_, i) => i % 4 === 0);
  const noise = normal(1500 * 3, 14);
  const view = Float64Array.from({ length: 1500 * 4 }, (_, i) =>
    i % 4 ? noise[(i >> 2) * 3 + (i % 4) - 1] : y[i >> 2],
  );
  const { similarity } = await pwcca(splits(scaled, 4, view, 4));
  expect(similarity).toBeGreaterThan(0.9);
  expect((await pwcca(splits(x, 4, view, 4))).similarity).toBeLessThan(0.5);
});
