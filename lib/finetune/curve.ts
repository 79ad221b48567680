/** What a fine-tuning curve says: how soon a word error rate is reached, and the area under the curve. */

export interface CurvePoint {
  update: number;
  value: number;
}

/**
 * First update at which the curve is at or below `tau`, by linear interpolation between the two evaluations around the
 * crossing; null when it never is (censored at the last update).
 */
export function updatesToReach(curve: readonly CurvePoint[], tau: number): number | null {
  for (let i = 0; i < curve.length; i++) {
    const { update, value } = curve[i];
    if (!(value <= tau)) continue;
    if (i === 0) return update;
    const before = curve[i - 1];
    return before.update + ((before.value - tau) / (before.value - value)) * (update - before.update);
  }
  return null;
}

/** The WER of an evaluation as a point of the curve that areas are taken of: above 1 (more insertions than words) it counts as 1. */
export function werCurve(points: readonly { update: number; wer: number }[]): CurvePoint[] {
  return points.map(({ update, wer }) => ({ update, value: Math.min(1, wer) }));
}

/** The same of the CER. */
export function cerCurve(points: readonly { update: number; cer: number }[]): CurvePoint[] {
  return points.map(({ update, cer }) => ({ update, value: Math.min(1, cer) }));
}

/**
 * Mean height of the curve by the trapezoid rule, over updates (`linear`) or over log(1 + update) (`log`, which weighs the
 * beginning more): the area under the curve divided by its width, so that it has the unit of the error rate.
 */
export function meanHeight(curve: readonly CurvePoint[], axis: 'linear' | 'log'): number {
  const position = (update: number) => (axis === 'log' ? Math.log1p(update) : update);
  if (curve.length === 0) return Number.NaN;
  if (curve.length === 1) return curve[0].value;
  let area = 0;
  for (let i = 1; i < curve.length; i++) {
    const width = position(curve[i].update) - position(curve[i - 1].update);
    area += (width * (curve[i].value + curve[i - 1].value)) / 2;
  }
  return area / (position(curve[curve.length - 1].update) - position(curve[0].update));
}
