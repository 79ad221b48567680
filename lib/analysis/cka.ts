/**
 * Linear centred kernel alignment, streamed: only cross-products of the features are kept, never the features.
 *
 *   CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)),   biased HSIC(X, Y) = ||Yc' Xc||_F^2   (columns centred)
 *
 * Kornblith et al. 2019 (1905.00414, eq. 4). The debiased form puts the unbiased estimator of HSIC in its place (Song et al.
 * 2012, eq. 5; used for CKA by Nguyen et al., 2010.15327, eq. 3): use it when there are not many more rows than dimensions.
 * Both are invariant to rotations and to isotropic scaling of either side.
 */
import { HubertkitError } from '../errors';

/**
 * Sums over rows i of everything that both forms of HSIC(X, Y) with linear kernels need, in float64. Rows are shifted by the
 * first row that is seen (HSIC does not depend on a shift), which keeps the subtractions of the mean accurate.
 */
export class CrossMoments {
  rows = 0;
  private readonly cross: Float64Array; // sum_i x_i y_i'          [dx, dy]
  private readonly sumX: Float64Array;
  private readonly sumY: Float64Array;
  private readonly xByY: Float64Array; // sum_i x_i |y_i|^2       [dx]
  private readonly yByX: Float64Array; // sum_i y_i |x_i|^2       [dy]
  private normX = 0; // sum_i |x_i|^2
  private normY = 0;
  private normXY = 0; // sum_i |x_i|^2 |y_i|^2
  private shiftX: Float64Array | undefined;
  private shiftY: Float64Array | undefined;

  constructor(
    readonly dx: number,
    readonly dy: number,
  ) {
    this.cross = new Float64Array(dx * dy);
    this.sumX = new Float64Array(dx);
    this.sumY = new Float64Array(dy);
    this.xByY = new Float64Array(dx);
    this.yByX = new Float64Array(dy);
  }

  /** Adds rows: x [rows, dx] and y [rows, dy], row-major. */
  add(x: Float32Array | Float64Array, y: Float32Array | Float64Array): void {
    const rows = x.length / this.dx;
    if (!Number.isInteger(rows) || y.length !== rows * this.dy) {
      throw new HubertkitError(
        'HK_SHAPE',
        `CrossMoments.add: x has ${x.length} values (rows of ${this.dx}), y has ${y.length} (rows of ${this.dy}): the rows do not match.`,
      );
    }
    if (rows === 0) return;
    this.shiftX ??= Float64Array.from(x.subarray(0, this.dx));
    this.shiftY ??= Float64Array.from(y.subarray(0, this.dy));
    const a = shifted(x, this.shiftX);
    const b = shifted(y, this.shiftY);
    accumulateCross(this.cross, a, b, rows, this.dx, this.dy);
    this.accumulateNorms(a, b, rows);
    this.rows += rows;
  }

  private accumulateNorms(a: Float64Array, b: Float64Array, rows: number): void {
    const { dx, dy, sumX, sumY, xByY, yByX } = this;
    for (let i = 0; i < rows; i++) {
      let nx = 0;
      let ny = 0;
      for (let p = i * dx; p < (i + 1) * dx; p++) nx += a[p] * a[p];
      for (let p = i * dy; p < (i + 1) * dy; p++) ny += b[p] * b[p];
      for (let k = 0, p = i * dx; k < dx; k++, p++) {
        sumX[k] += a[p];
        xByY[k] += a[p] * ny;
      }
      for (let k = 0, p = i * dy; k < dy; k++, p++) {
        sumY[k] += b[p];
        yByX[k] += b[p] * nx;
      }
      this.normX += nx;
      this.normY += ny;
      this.normXY += nx * ny;
    }
  }

  /** ||Yc' Xc||_F^2 with centred columns. */
  hsic(): number {
    const { dx, dy, sumX, sumY, cross, rows } = this;
    let total = 0;
    for (let i = 0; i < dx; i++) {
      for (let j = 0; j < dy; j++) {
        const centred = cross[i * dy + j] - (sumX[i] * sumY[j]) / rows;
        total += centred * centred;
      }
    }
    return total;
  }

  /**
   * The unbiased estimator, times n (n-3): tr(K~ L~) + 1'K~1 1'L~1 / ((n-1)(n-2)) - 2 1'K~L~1 / (n-2), where K~ and L~ are the
   * n x n kernels with zero diagonals, written with sums over features only. Needs at least 4 rows.
   */
  unbiasedHsic(): number {
    const n = this.rows;
    if (n < 4) throw new HubertkitError('HK_ARGUMENT', `Debiased CKA needs at least 4 rows; got ${n}.`);
    const trace = dot(this.cross, this.cross) - this.normXY;
    const sumK = dot(this.sumX, this.sumX) - this.normX;
    const sumL = dot(this.sumY, this.sumY) - this.normY;
    let sumKL = this.normXY - dot(this.sumX, this.xByY) - dot(this.sumY, this.yByX);
    for (let i = 0; i < this.dx; i++) {
      for (let j = 0; j < this.dy; j++) sumKL += this.sumX[i] * this.cross[i * this.dy + j] * this.sumY[j];
    }
    return trace + (sumK * sumL) / ((n - 1) * (n - 2)) - (2 * sumKL) / (n - 2);
  }
}

/** CKA from the moments of (X, Y), (X, X) and (Y, Y) over the same rows. NaN when a side is constant. */
export function ckaFromMoments(xy: CrossMoments, xx: CrossMoments, yy: CrossMoments, debiased = false): number {
  const hsic = (moments: CrossMoments) => (debiased ? moments.unbiasedHsic() : moments.hsic());
  return hsic(xy) / Math.sqrt(hsic(xx) * hsic(yy));
}

/** Linear CKA of x [rows, dx] and y [rows, dy] held in memory. */
export function linearCka(
  x: Float32Array | Float64Array,
  y: Float32Array | Float64Array,
  rows: number,
  options: { debiased?: boolean } = {},
): number {
  const dx = x.length / rows;
  const dy = y.length / rows;
  const xy = new CrossMoments(dx, dy);
  const xx = new CrossMoments(dx, dx);
  const yy = new CrossMoments(dy, dy);
  xy.add(x, y);
  xx.add(x, x);
  yy.add(y, y);
  return ckaFromMoments(xy, xx, yy, options.debiased);
}

function shifted(values: Float32Array | Float64Array, shift: Float64Array): Float64Array {
  const result = new Float64Array(values.length);
  for (let i = 0; i < values.length; i += shift.length) {
    for (let k = 0; k < shift.length; k++) result[i + k] = values[i + k] - shift[k];
  }
  return result;
}

/** cross += a' b. Four rows at a time: each pass over the [dx, dy] matrix then carries four products. */
function accumulateCross(
  cross: Float64Array,
  a: Float64Array,
  b: Float64Array,
  rows: number,
  dx: number,
  dy: number,
): void {
  let row = 0;
  for (; row + 4 <= rows; row += 4) {
    const b0 = row * dy;
    const b1 = b0 + dy;
    const b2 = b1 + dy;
    const b3 = b2 + dy;
    for (let i = 0; i < dx; i++) {
      const a0 = a[row * dx + i];
      const a1 = a[(row + 1) * dx + i];
      const a2 = a[(row + 2) * dx + i];
      const a3 = a[(row + 3) * dx + i];
      const at = i * dy;
      for (let j = 0; j < dy; j++) {
        cross[at + j] += a0 * b[b0 + j] + a1 * b[b1 + j] + a2 * b[b2 + j] + a3 * b[b3 + j];
      }
    }
  }
  for (; row < rows; row++) {
    for (let i = 0; i < dx; i++) {
      const value = a[row * dx + i];
      for (let j = 0; j < dy; j++) cross[i * dy + j] += value * b[row * dy + j];
    }
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}
