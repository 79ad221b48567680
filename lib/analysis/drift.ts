/** How far a layer has moved between two checkpoints, on the same frames. */
import { HubertkitError } from '../errors';
import { linearCka } from './cka';
import type { Features } from './cross-sums';

export interface LayerDrift {
  /** Linear CKA (debiased) of the layer with itself at the other checkpoint: blind to rotations. 1: it has not moved. */
  cka: number;
  /** Mean over frames of 1 - cos(x_i, y_i): sees rotations too. 0: it has not moved; 1: orthogonal. */
  cosineDistance: number;
}

/** @param x [rows, d] and y [rows, d] of the same frames. @throws HK_SHAPE when they do not fit */
export function layerDrift(x: Features, y: Features, rows: number): LayerDrift {
  if (x.length !== y.length || !Number.isInteger(x.length / rows)) {
    throw new HubertkitError(
      'HK_SHAPE',
      `Drift needs the same ${rows} rows twice; got ${x.length} and ${y.length} values.`,
    );
  }
  const d = x.length / rows;
  let total = 0;
  for (let row = 0; row < rows; row++) total += 1 - cosine(x, y, row * d, d);
  return { cka: linearCka(x, y, rows, { debiased: true }), cosineDistance: total / rows };
}

/** 0 where a side is all zero. */
function cosine(x: Features, y: Features, start: number, d: number): number {
  let xx = 0;
  let xy = 0;
  let yy = 0;
  for (let p = start; p < start + d; p++) {
    xx += x[p] * x[p];
    xy += x[p] * y[p];
    yy += y[p] * y[p];
  }
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : 0;
}
