import { CrossMoments, ckaFromMoments, linearCka } from '../../lib/analysis/cka';

/** Deterministic, roughly normal values. */
function noise(count: number, seed: number): Float32Array {
  let state = seed >>> 0 || 1;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 4294967296;
  };
  return Float32Array.from({ length: count }, () => next() + next() + next() + next() - 2);
}

/** CKA from the n x n kernels, straight from the definitions. */
function kernelCka(x: Float32Array, y: Float32Array, n: number, debiased: boolean): number {
  const kernel = (v: Float32Array) => {
    const d = v.length / n;
    return Array.from({ length: n }, (_, i) =>
      Array.from({ length: n }, (_, j) => {
        let total = 0;
        for (let k = 0; k < d; k++) total += v[i * d + k] * v[j * d + k];
        return total;
      }),
    );
  };
  const sum = (m: number[][]) => m.flat().reduce((a, b) => a + b, 0);
  const product = (a: number[][], b: number[][]) =>
    a.map((row) => b[0].map((_, j) => row.reduce((s, v, k) => s + v * b[k][j], 0)));
  const centre = (m: number[][]) => {
    const rows = m.map((row) => row.reduce((a, b) => a + b, 0) / n);
    const all = rows.reduce((a, b) => a + b, 0) / n;
    return m.map((row, i) => row.map((v, j) => v - rows[i] - rows[j] + all));
  };
  const hollow = (m: number[][]) => m.map((row, i) => row.map((v, j) => (i === j ? 0 : v)));
  const hsic = (k: number[][], l: number[][]) => {
    if (!debiased) return sum(centre(k).map((row, i) => row.map((v, j) => v * centre(l)[i][j])));
    const [kt, lt] = [hollow(k), hollow(l)];
    const trace = sum(kt.map((row, i) => row.map((v, j) => v * lt[i][j])));
    return trace + (sum(kt) * sum(lt)) / ((n - 1) * (n - 2)) - (2 / (n - 2)) * sum(product(kt, lt));
  };
  const [k, l] = [kernel(x), kernel(y)];
  return hsic(k, l) / Math.sqrt(hsic(k, k) * hsic(l, l));
}

test('features are perfectly similar to themselves, shifted, scaled and rotated', () => {
  const x = noise(200 * 2, 1);
  const turned = new Float32Array(x.length);
  for (let i = 0; i < x.length; i += 2) {
    turned[i] = 3 * (0.6 * x[i] - 0.8 * x[i + 1]) + 10;
    turned[i + 1] = 3 * (0.8 * x[i] + 0.6 * x[i + 1]) - 7;
  }
  expect(linearCka(x, x, 200)).toBeCloseTo(1, 10);
  expect(linearCka(x, turned, 200)).toBeCloseTo(1, 5);
  expect(linearCka(x, turned, 200, { debiased: true })).toBeCloseTo(1, 5);
});

test.each([false, true])('sums over features equal the n x n kernels (debiased: %s)', (debiased) => {
  const n = 23;
  const x = noise(n * 5, 2).map((v) => v + 4);
  const y = noise(n * 7, 3).map((v, i) => v + x[Math.floor(i / 7) * 5 + (i % 5)]);
  expect(linearCka(x, y, n, { debiased })).toBeCloseTo(kernelCka(x, y, n, debiased), 8);
});

test('independent features: the biased form is far from 0 when rows are few, the debiased form is not', () => {
  const x = noise(60 * 40, 4);
  const y = noise(60 * 40, 5);
  expect(linearCka(x, y, 60)).toBeGreaterThan(0.3);
  expect(Math.abs(linearCka(x, y, 60, { debiased: true }))).toBeLessThan(0.12);
});

test('streaming in pieces gives what one piece gives', () => {
  const x = noise(30 * 3, 6);
  const y = noise(30 * 4, 7);
  const of = (pieces: [number, number][]) => {
    const moments = [new CrossMoments(3, 4), new CrossMoments(3, 3), new CrossMoments(4, 4)] as const;
    for (const [from, to] of pieces) {
      const a = x.subarray(from * 3, to * 3);
      const b = y.subarray(from * 4, to * 4);
      moments[0].add(a, b);
      moments[1].add(a, a);
      moments[2].add(b, b);
    }
    return ckaFromMoments(...moments);
  };
  expect(of([[0, 7], [7, 8], [8, 30]])).toBeCloseTo(of([[0, 30]]), 10); // biome-ignore format: pieces on one line
});

test('a large common offset does not drown the similarity', () => {
  const x = noise(100 * 3, 8);
  const y = noise(100 * 3, 9).map((v, i) => v + x[i]);
  const far = y.map((v) => v + 1000);
  expect(linearCka(x, far, 100)).toBeCloseTo(linearCka(x, y, 100), 3);
});

test('rows that do not match are refused', () => {
  expect(() => new CrossMoments(3, 4).add(new Float32Array(9), new Float32Array(8))).toThrow(
    expect.objectContaining({ code: 'HK_SHAPE' }),
  );
});
