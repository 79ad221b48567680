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
import { CrossSums, type Features } from './cross-sums';

/** {@link CrossSums} with everything that both forms of HSIC(X, Y) with linear kernels need; HSIC does not depend on a shift. */
export class CrossMoments extends CrossSums {
  private readonly xByY: Float64Array; // sum_i x_i |y_i|^2       [dx]
  private readonly yByX: Float64Array; // sum_i y_i |x_i|^2       [dy]
  private normX = 0; // sum_i |x_i|^2
  private normY = 0;
  private normXY = 0; // sum_i |x_i|^2 |y_i|^2

  constructor(dx: number, dy: number) {
    super(dx, dy);
    this.xByY = new Float64Array(dx);
    this.yByX = new Float64Array(dy);
  }

  protected override accumulate(a: Float64Array, b: Float64Array, rows: number): void {
    super.accumulate(a, b, rows);
    const { dx, dy, xByY, yByX } = this;
    for (let i = 0; i < rows; i++) {
      let nx = 0;
      let ny = 0;
      for (let p = i * dx; p < (i + 1) * dx; p++) nx += a[p] * a[p];
      for (let p = i * dy; p < (i + 1) * dy; p++) ny += b[p] * b[p];
      for (let k = 0, p = i * dx; k < dx; k++, p++) xByY[k] += a[p] * ny;
      for (let k = 0, p = i * dy; k < dy; k++, p++) yByX[k] += b[p] * nx;
      this.normX += nx;
      this.normY += ny;
      this.normXY += nx * ny;
    }
  }

  /** ||Yc' Xc||_F^2 with centred columns. */
  hsic(): number {
    const { data } = this.covariance();
    return dot(data, data) * this.rows ** 2;
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
export function linearCka(x: Features, y: Features, rows: number, options: { debiased?: boolean } = {}): number {
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

function dot(a: Float64Array, b: Float64Array): number {
  let total = 0;
  for (let i = 0; i < a.length; i++) total += a[i] * b[i];
  return total;
}
