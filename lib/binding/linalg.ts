/**
 * What native/addon/linalg.cpp exports: float64, row-major, on libuv workers. Matrices of other sizes than stated are HK_SHAPE;
 * other arguments, and values that are not finite, HK_ARGUMENT.
 */
export interface NativeEigen {
  /** Descending. */
  values: Float64Array;
  /** [n, n]; row i is the unit eigenvector of value i. */
  vectors: Float64Array;
}

export interface NativeSvd {
  /** [rows, k], k = min(rows, columns). */
  u: Float64Array;
  /** [k], descending. */
  s: Float64Array;
  /** [k, columns]. */
  vt: Float64Array;
}

export interface LinalgNative {
  /** matrix [n, n]; HK_ARGUMENT when it is not symmetric. */
  symmetricEigen(matrix: Float64Array, n: number): Promise<NativeEigen>;
  thinSvd(matrix: Float64Array, rows: number, columns: number): Promise<NativeSvd>;
  /** a [rows, inner] times b [inner, columns]. */
  matrixProduct(a: Float64Array, b: Float64Array, rows: number, inner: number, columns: number): Promise<Float64Array>;
}
