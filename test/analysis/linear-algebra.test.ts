import { type Matrix, product, symmetricEigen, thinSvd, transpose } from '../../lib/analysis/linear-algebra';
import { native } from '../../lib/binding';
import { Philox } from '../../lib/data/philox';

function random(rows: number, columns: number, seed: number): Matrix {
  const numbers = new Philox(seed);
  return { rows, columns, data: Float64Array.from({ length: rows * columns }, () => numbers.normal()) };
}

const diagonal = (values: Float64Array): Matrix => {
  const data = new Float64Array(values.length ** 2);
  values.forEach((value, i) => {
    data[i * values.length + i] = value;
  });
  return { rows: values.length, columns: values.length, data };
};

/** Straight from the definition. */
function slowProduct(a: Matrix, b: Matrix): Matrix {
  const data = new Float64Array(a.rows * b.columns);
  for (let i = 0; i < a.rows; i++) {
    for (let j = 0; j < b.columns; j++) {
      for (let k = 0; k < a.columns; k++)
        data[i * b.columns + j] += a.data[i * a.columns + k] * b.data[k * b.columns + j];
    }
  }
  return { rows: a.rows, columns: b.columns, data };
}

function expectEqual(a: Matrix, b: Matrix, tolerance = 1e-12): void {
  expect([a.rows, a.columns]).toEqual([b.rows, b.columns]);
  expect(a.data.reduce((worst, value, i) => Math.max(worst, Math.abs(value - b.data[i])), 0)).toBeLessThan(tolerance);
}

const identity = (n: number) => diagonal(new Float64Array(n).fill(1));

test.each([1, 2, 17, 90])('eigenvectors of a symmetric matrix of %i are orthonormal and rebuild it', async (n) => {
  const x = random(n + 3, n, n);
  const matrix = slowProduct(transpose(x), x);
  const { values, vectors } = await symmetricEigen(matrix);
  expectEqual(slowProduct(vectors, transpose(vectors)), identity(n));
  expectEqual(slowProduct(transpose(vectors), slowProduct(diagonal(values), vectors)), matrix, 1e-10);
  expect([...values]).toEqual([...values].sort((a, b) => b - a));
});

test.each([
  [1, 1],
  [5, 1],
  [1, 5],
  [40, 23],
  [23, 40],
])('the thin SVD of a %i x %i matrix has orthonormal sides and rebuilds it', async (rows, columns) => {
  const matrix = random(rows, columns, 7);
  const { u, s, vt } = await thinSvd(matrix);
  expectEqual(slowProduct(transpose(u), u), identity(s.length));
  expectEqual(slowProduct(vt, transpose(vt)), identity(s.length));
  expectEqual(slowProduct(u, slowProduct(diagonal(s), vt)), matrix);
  expect(Math.min(...s)).toBeGreaterThanOrEqual(0);
  expect([...s]).toEqual([...s].sort((a, b) => b - a));
});

test('singular values are square roots of the eigenvalues of the Gram matrix', async () => {
  const matrix = random(30, 12, 9);
  const { values } = await symmetricEigen(slowProduct(transpose(matrix), matrix));
  const { s } = await thinSvd(matrix);
  values.forEach((value, i) => {
    expect(s[i]).toBeCloseTo(Math.sqrt(value), 10);
  });
});

test('products equal the definition', async () => {
  const [a, b] = [random(13, 21, 1), random(21, 8, 2)];
  expectEqual(await product(a, b), slowProduct(a, b));
});

test('the same matrix gives the same bits, also when several are at work', async () => {
  const matrix = random(60, 60, 3);
  const [first, second] = await Promise.all([thinSvd(matrix), thinSvd(matrix)]);
  expect(second).toEqual(first);
});

test('wrong arguments are refused with a code', async () => {
  const square = random(3, 3, 4);
  const cases: [() => Promise<unknown>, string][] = [
    [() => symmetricEigen(square), 'HK_ARGUMENT'],
    [() => symmetricEigen(random(3, 4, 4)), 'HK_SHAPE'],
    [() => symmetricEigen({ rows: 0, columns: 0, data: new Float64Array(0) }), 'HK_ARGUMENT'],
    [() => symmetricEigen({ ...square, data: new Float64Array(9).fill(Number.NaN) }), 'HK_ARGUMENT'],
    [() => thinSvd({ rows: 2.5, columns: 2, data: new Float64Array(5) }), 'HK_ARGUMENT'],
    [
      () => thinSvd({ rows: 2, columns: 2, data: new Float64Array([1, 2, 3, Number.POSITIVE_INFINITY]) }),
      'HK_ARGUMENT',
    ],
    [() => product(random(2, 3, 1), random(2, 3, 1)), 'HK_SHAPE'],
  ];
  for (const [call, code] of cases) await expect(call()).rejects.toMatchObject({ code });
});

test('nothing but Float64Arrays and sizes reaches the native code', () => {
  const n = native() as unknown as Record<string, (...parameters: unknown[]) => Promise<unknown>>;
  for (const name of ['symmetricEigen', 'thinSvd', 'matrixProduct']) {
    for (const wrong of [undefined, null, 'x', [1], {}, new Float32Array(4), -1, Number.NaN]) {
      const call = () => n[name](wrong, wrong, wrong, wrong, wrong);
      expect(call).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
      expect(() => n[name](wrong, 2, 2, 2, 2)).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
    }
  }
});
