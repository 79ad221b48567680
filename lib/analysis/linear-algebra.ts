/** Dense float64 matrices and their decompositions (native, by Eigen): deterministic, computed off the main thread. */
import { wrappedAsync } from '../binding';

/** Row-major. */
export interface Matrix {
  rows: number;
  columns: number;
  data: Float64Array;
}

/** matrix = vectors' diag(values) vectors. */
export interface SymmetricEigen {
  /** Descending. */
  values: Float64Array;
  /** [n, n]: row i is the unit eigenvector of value i. */
  vectors: Matrix;
}

/** matrix = u diag(s) vt, k = min(rows, columns). */
export interface ThinSvd {
  /** [rows, k] */
  u: Matrix;
  /** Descending. */
  s: Float64Array;
  /** [k, columns] */
  vt: Matrix;
}

/** @throws HK_ARGUMENT when the matrix is not symmetric or not finite, HK_SHAPE when it is not square */
export async function symmetricEigen({ rows, data }: Matrix): Promise<SymmetricEigen> {
  const { values, vectors } = await wrappedAsync((n) => n.symmetricEigen(data, rows));
  return { values, vectors: { rows, columns: rows, data: vectors } };
}

/** @throws HK_ARGUMENT when the matrix is not finite */
export async function thinSvd({ rows, columns, data }: Matrix): Promise<ThinSvd> {
  const { u, s, vt } = await wrappedAsync((n) => n.thinSvd(data, rows, columns));
  return {
    u: { rows, columns: s.length, data: u },
    s,
    vt: { rows: s.length, columns, data: vt },
  };
}

/** a [rows, inner] times b [inner, columns]. @throws HK_SHAPE when they do not fit, HK_ARGUMENT when one is not finite */
export async function product(a: Matrix, b: Matrix): Promise<Matrix> {
  const data = await wrappedAsync((n) => n.matrixProduct(a.data, b.data, a.rows, a.columns, b.columns));
  return { rows: a.rows, columns: b.columns, data };
}

export function transpose({ rows, columns, data }: Matrix): Matrix {
  const turned = new Float64Array(data.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) turned[j * rows + i] = data[i * columns + j];
  return { rows: columns, columns: rows, data: turned };
}
