/**
 * Learning-rate schedules. A schedule is a function of the update (1-based: update 1 is the first one) and depends on nothing else,
 * so a resumed run sees the same rates.
 */
import { HubertkitError } from '../errors';

/** The learning rate of an update, 1 <= update <= updates. */
export type LearningRate = (update: number) => number;

export interface LinearSchedule {
  /** The highest learning rate, reached at the end of the warm-up. */
  peak: number;
  /** Updates in all. */
  updates: number;
  /** Share of the updates that warms up, 0..1. Default .08 (HuBERT: 32k of 400k). */
  warmup?: number;
}

/**
 * Pretraining: linear from 0 to `peak` over the warm-up, then linear to 0 at the last update (fairseq `polynomial_decay`, power 1).
 * The first update already has peak / warm-up updates and the last one peak / (decay updates): neither is wasted on a rate of 0.
 */
export function linearSchedule({ peak, updates, warmup = 0.08 }: LinearSchedule): LearningRate {
  requireUpdates(updates);
  requireShare('warmup', warmup);
  const rising = Math.round(warmup * updates);
  const falling = updates - rising;
  return (update) => {
    if (update <= rising) return (peak * update) / rising;
    return (peak * Math.max(0, updates - update + 1)) / (falling + (rising > 0 ? 1 : 0));
  };
}

export interface TriStageSchedule {
  peak: number;
  updates: number;
  /** Shares of the updates that warm up, hold the peak and decay; their sum must be 1. Default [.1, .4, .5] (wav2vec 2.0, 10 min and 1 h). */
  phases?: [number, number, number];
  /** Rate at update 0 relative to the peak. Default .01. */
  initialScale?: number;
  /** Rate at the last update relative to the peak. Default .05. */
  finalScale?: number;
}

/** Fine-tuning: linear warm-up, constant, exponential decay (fairseq `tri_stage`). */
export function triStageSchedule(o: TriStageSchedule): LearningRate {
  const { peak, updates, phases = [0.1, 0.4, 0.5], initialScale = 0.01, finalScale = 0.05 } = o;
  requireUpdates(updates);
  phases.forEach((share, i) => {
    requireShare(`phases[${i}]`, share);
  });
  if (Math.abs(phases[0] + phases[1] + phases[2] - 1) > 1e-6)
    throw new HubertkitError('HK_ARGUMENT', `The three phases must sum to 1, got ${phases.join(' + ')}.`);
  const warm = Math.round(phases[0] * updates);
  const hold = warm + Math.round(phases[1] * updates);
  const decay = Math.max(1, updates - hold);
  return (update) => {
    if (update <= warm) return peak * (initialScale + ((1 - initialScale) * update) / warm);
    if (update <= hold) return peak;
    return peak * finalScale ** (Math.min(decay, update - hold) / decay);
  };
}

function requireUpdates(updates: number): void {
  if (!Number.isInteger(updates) || updates < 1)
    throw new HubertkitError('HK_ARGUMENT', `A schedule needs a whole number of updates >= 1, got ${updates}.`);
}

function requireShare(name: string, share: number): void {
  if (!(share >= 0 && share <= 1))
    throw new HubertkitError('HK_ARGUMENT', `${name} is a share between 0 and 1, got ${share}.`);
}
