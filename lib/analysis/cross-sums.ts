/** Cross-products of two sets of features, added up row by row: memory does not grow with the rows. */
import { HubertkitError } from '../errors';
import type { Matrix } from './linear-algebra';

/** Row-major features. */
export type Features = Float32Array | Float64Array;

/**
 * Sums over rows i of x_i y_i', x_i and y_i in float64. Rows are shifted by the first row that is seen, which keeps the
 * subtraction of the mean accurate.
 */
export class CrossSums {
  rows = 0;
  /** sum_i x_i y_i' [dx, dy], of shifted rows. */
  protected readonly cross: Float64Array;
  protected readonly sumX: Float64Array;
  protected readonly sumY: Float64Array;
  private shiftX: Float64Array | undefined;
  private shiftY: Float64Array | undefined;

  constructor(
    readonly dx: number,
    readonly dy: number,
  ) {
    if (!(Number.isInteger(dx) && Number.isInteger(dy) && dx > 0 && dy > 0)) {
      throw new HubertkitError('HK_ARGUMENT', `Rows must have a whole number of values, from 1; got ${dx} and ${dy}.`);
    }
    this.cross = new Float64Array(dx * dy);
    this.sumX = new Float64Array(dx);
    this.sumY = new Float64Array(dy);
  }

  /** Adds rows: x [rows, dx] and y [rows, dy]. @throws HK_SHAPE */
  add(x: Features, y: Features): void {
    const rows = x.length / this.dx;
    if (!Number.isInteger(rows) || y.length !== rows * this.dy) {
      throw new HubertkitError(
        'HK_SHAPE',
        `${this.constructor.name}.add: x has ${x.length} values (rows of ${this.dx}), y has ${y.length} (rows of ${this.dy}): the rows do not match.`,
      );
    }
    if (rows === 0) return;
    this.shiftX ??= Float64Array.from(x.subarray(0, this.dx));
    this.shiftY ??= Float64Array.from(y.subarray(0, this.dy));
    const a = shifted(x, this.shiftX);
    this.accumulate(a, x === y ? a : shifted(y, this.shiftY), rows);
    this.rows += rows;
  }

  /** Adds shifted rows. */
  protected accumulate(a: Float64Array, b: Float64Array, rows: number): void {
    accumulateCross(this.cross, a, b, rows, this.dx, this.dy);
    accumulateSum(this.sumX, a);
    accumulateSum(this.sumY, b);
  }

  /** mean of (x - mean x)(y - mean y)' [dx, dy]. */
  covariance(): Matrix {
    const { dx, dy, cross, sumX, sumY, rows } = this;
    const data = new Float64Array(dx * dy);
    for (let i = 0; i < dx; i++) {
      for (let j = 0; j < dy; j++) data[i * dy + j] = (cross[i * dy + j] - (sumX[i] * sumY[j]) / rows) / rows;
    }
    return { rows: dx, columns: dy, data };
  }

  /** mean of x y' [dx, dy], nothing subtracted. */
  secondMoment(): Matrix {
    const { dx, dy, rows } = this;
    const matrix = this.covariance();
    const mean = (sum: Float64Array, shift?: Float64Array) => sum.map((value, i) => value / rows + (shift?.[i] ?? 0));
    const [x, y] = [mean(this.sumX, this.shiftX), mean(this.sumY, this.shiftY)];
    for (let i = 0; i < dx; i++) for (let j = 0; j < dy; j++) matrix.data[i * dy + j] += x[i] * y[j];
    return matrix;
  }
}

function shifted(values: Features, shift: Float64Array): Float64Array {
  const result = new Float64Array(values.length);
  for (let i = 0; i < values.length; i += shift.length) {
    for (let k = 0; k < shift.length; k++) result[i + k] = values[i + k] - shift[k];
  }
  return result;
}

function accumulateSum(sum: Float64Array, rows: Float64Array): void {
  for (let p = 0; p < rows.length; p += sum.length) for (let k = 0; k < sum.length; k++) sum[k] += rows[p + k];
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
