/**
 * Canonical correlation analysis of two views of the same rows, held out: directions come from training rows, their
 * regularisation is chosen on development rows, correlations are measured on test rows (as in Pasad et al. 2021, 2107.04734,
 * section 3.2). Only covariances are needed (CrossSums), so memory does not grow with the rows.
 *
 *   T = Sxx^-1/2 Sxy Syy^-1/2 = U S V',   a_i = Sxx^-1/2 u_i,   b_i = Syy^-1/2 v_i,   rho_i = corr(a_i' x, b_i' y)
 *
 * PWCCA (Morcos et al. 2018, 1806.05759, eq. 3): sum_i alpha_i rho_i / sum_i alpha_i, alpha_i = sum_j |<h_i, x_j>| with the unit
 * variate h_i = a_i' x and the columns x_j of X. SVCCA (Raghu et al. 2017, 1706.05806): the mean of rho_i after each view has been
 * reduced to the principal directions that hold 99 % of its variance. In both, Sxx and Syy get epsilon times their mean variance
 * on the diagonal.
 */
import { HubertkitError } from '../errors';
import type { CrossSums } from './cross-sums';
import { type Matrix, product, symmetricEigen, thinSvd, transpose } from './linear-algebra';

/** Of two views over the same rows. */
export interface Covariances {
  /** [dx, dx] */
  xx: Matrix;
  /** [dx, dy] */
  xy: Matrix;
  /** [dy, dy] */
  yy: Matrix;
}

export interface CcaSplits {
  train: Covariances;
  dev: Covariances;
  test: Covariances;
}

export interface CcaOptions {
  /** Candidates; the one with the highest similarity on dev is taken. Default 1e-8, 1e-6, 1e-4, 1e-2, 1e-1. */
  epsilons?: readonly number[];
}

export interface CcaResult {
  /** On test: 1 when one view is an invertible affine image of the other, about 0 for independent views. */
  similarity: number;
  epsilon: number;
  /** rho_i on test, in the order of the training correlations. */
  correlations: Float64Array;
}

const defaultEpsilons = [1e-8, 1e-6, 1e-4, 1e-2, 1e-1];
/** Directions with a smaller share of the largest variance are null directions. */
const nullShare = 1e-12;
/** What SVCCA keeps of the variance of each view. */
const keptVariance = 0.99;

/** From sums over the same rows. @throws HK_SHAPE when they are not */
export function covariances(xx: CrossSums, xy: CrossSums, yy: CrossSums): Covariances {
  const fits = xx.rows === xy.rows && yy.rows === xy.rows && xx.dx === xy.dx && yy.dy === xy.dy;
  if (!fits || xy.rows === 0 || xx.dx !== xx.dy || yy.dx !== yy.dy) {
    const sizes = [xx, xy, yy].map((sums) => `${sums.rows} rows of ${sums.dx} x ${sums.dy}`);
    throw new HubertkitError('HK_SHAPE', `CCA needs sums of (X, X), (X, Y), (Y, Y); got ${sizes.join(', ')}.`);
  }
  return { xx: xx.covariance(), xy: xy.covariance(), yy: yy.covariance() };
}

/** Weighted by how much of X each direction accounts for. */
export function pwcca(splits: CcaSplits, options: CcaOptions = {}): Promise<CcaResult> {
  return heldOutCca(splits, options, (values) => values.filter((value) => value > nullShare * values[0]).length, true);
}

/** The mean over the directions of the reduced views. */
export function svcca(splits: CcaSplits, options: CcaOptions = {}): Promise<CcaResult> {
  return heldOutCca(splits, options, directionsHolding, false);
}

/** The number of leading variances that hold {@link keptVariance} of their sum. */
function directionsHolding(variances: Float64Array): number {
  const positive = variances.map((value) => Math.max(value, 0));
  const wanted = keptVariance * positive.reduce((a, b) => a + b, 0);
  let held = 0;
  let count = 0;
  while (count < positive.length && held < wanted) held += positive[count++];
  return count;
}

async function heldOutCca(
  { train, dev, test }: CcaSplits,
  { epsilons = defaultEpsilons }: CcaOptions,
  kept: (variances: Float64Array) => number,
  weighted: boolean,
): Promise<CcaResult> {
  if (epsilons.length === 0 || !epsilons.every((epsilon) => epsilon >= 0 && Number.isFinite(epsilon))) {
    throw new HubertkitError('HK_ARGUMENT', `CCA, epsilons: expected numbers from 0, got [${epsilons.join(', ')}].`);
  }
  const [x, y] = [await principal(train.xx, kept), await principal(train.yy, kept)];
  let best: { directions: Directions; epsilon: number; dev: number } | undefined;
  for (const epsilon of epsilons) {
    const directions = await canonicalDirections(x, y, train.xy, epsilon);
    const weights = weighted ? await projectionWeights(directions.a, train.xx) : undefined;
    const similarity = weightedMean(await correlations(directions, dev), weights);
    if (!best || similarity > best.dev) best = { directions: { ...directions, weights }, epsilon, dev: similarity };
  }
  const { directions, epsilon } = best!;
  const found = await correlations(directions, test);
  return { similarity: weightedMean(found, directions.weights), epsilon, correlations: found };
}

/** Principal directions of one view. */
interface Principal {
  /** [k], descending. */
  variances: Float64Array;
  /** [k, d] */
  directions: Matrix;
  /** Over all d. */
  meanVariance: number;
}

async function principal(covariance: Matrix, kept: (variances: Float64Array) => number): Promise<Principal> {
  const { values, vectors } = await symmetricEigen(covariance);
  const d = values.length;
  const k = values[0] > 0 ? kept(values) : 0;
  if (k === 0) throw new HubertkitError('HK_ARGUMENT', 'CCA: one of the views is constant on the training rows.');
  return {
    variances: values.slice(0, k),
    directions: { rows: k, columns: d, data: vectors.data.slice(0, k * d) },
    meanVariance: values.reduce((a, b) => a + b, 0) / d,
  };
}

/** Canonical directions, one a row: a [c, dx], b [c, dy]. */
interface Directions {
  a: Matrix;
  b: Matrix;
  /** Of the directions in PWCCA; absent: all the same. */
  weights?: Float64Array;
}

async function canonicalDirections(x: Principal, y: Principal, xy: Matrix, epsilon: number): Promise<Directions> {
  const [whitenX, whitenY] = [whitening(x, epsilon), whitening(y, epsilon)];
  const { u, vt } = await thinSvd(await product(await product(whitenX, xy), transpose(whitenY)));
  return { a: await product(transpose(u), whitenX), b: await product(vt, whitenY) };
}

/** Rows e_k / sqrt(variance_k + epsilon * mean variance). */
function whitening({ variances, directions, meanVariance }: Principal, epsilon: number): Matrix {
  const { rows, columns } = directions;
  const data = directions.data.map(
    (value, p) => value / Math.sqrt(variances[Math.floor(p / columns)] + epsilon * meanVariance),
  );
  return { rows, columns, data };
}

/** corr(a_i' x, b_i' y) for each pair; 0 where one of them does not vary. */
async function correlations({ a, b }: Directions, { xx, xy, yy }: Covariances): Promise<Float64Array> {
  const [ax, axy, by] = [await product(a, xx), await product(a, xy), await product(b, yy)];
  return Float64Array.from({ length: a.rows }, (_, i) => {
    const deviations = Math.sqrt(rowDot(ax, a, i) * rowDot(by, b, i));
    return deviations > 0 ? rowDot(axy, b, i) / deviations : 0;
  });
}

/** alpha_i = sum_j |<h_i, x_j>|, h_i = a_i' x scaled to unit variance. */
async function projectionWeights(a: Matrix, xx: Matrix): Promise<Float64Array> {
  const ax = await product(a, xx);
  return Float64Array.from({ length: a.rows }, (_, i) => {
    const row = ax.data.subarray(i * ax.columns, (i + 1) * ax.columns);
    return row.reduce((sum, value) => sum + Math.abs(value), 0) / Math.sqrt(rowDot(ax, a, i));
  });
}

function rowDot(a: Matrix, b: Matrix, row: number): number {
  let total = 0;
  for (let p = row * a.columns; p < (row + 1) * a.columns; p++) total += a.data[p] * b.data[p];
  return total;
}

function weightedMean(values: Float64Array, weights?: Float64Array): number {
  let total = 0;
  let mass = 0;
  values.forEach((value, i) => {
    const weight = weights?.[i] ?? 1;
    total += weight * value;
    mass += weight;
  });
  return total / mass;
}
