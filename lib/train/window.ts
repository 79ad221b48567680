/** Sums over the updates since the last line of metrics.jsonl; part of the state of a run, so that a resumed one logs the same means. */
import type { LossCounts } from '../nn/steps';
import type { Metrics } from './metrics';

export interface Window {
  masked: LossCounts;
  unmasked: LossCounts;
  /** Summed over updates: the objective in nats, the mean square of the features, the gradient norm before clipping. */
  objective: number;
  featurePenalty: number;
  gradientNorm: number;
  /** Those with a finite gradient. */
  updates: number;
  audioSeconds: number;
}

const noFrames = (): LossCounts => ({ loss: 0, frames: 0, correct: 0 });

export function emptyWindow(): Window {
  return {
    masked: noFrames(),
    unmasked: noFrames(),
    objective: 0,
    featurePenalty: 0,
    gradientNorm: 0,
    updates: 0,
    audioSeconds: 0,
  };
}

export function addFrames(sums: LossCounts, more: LossCounts): void {
  sums.loss += more.loss;
  sums.frames += more.frames;
  sums.correct += more.correct;
}

export function addWindow(window: Window, more: Window): void {
  addFrames(window.masked, more.masked);
  addFrames(window.unmasked, more.unmasked);
  window.objective += more.objective;
  window.featurePenalty += more.featurePenalty;
  window.gradientNorm += more.gradientNorm;
  window.updates += more.updates;
  window.audioSeconds += more.audioSeconds;
}

type Means = Pick<
  Metrics,
  'loss' | 'maskedLossBits' | 'unmaskedLossBits' | 'maskedAccuracy' | 'unmaskedAccuracy' | 'featurePenalty'
>;

/** The means of a window, losses in bits a frame. What did not occur is left out. */
export function means({ masked, unmasked, objective, featurePenalty, updates }: Window): Means {
  const mean = (sum: number, count: number) => (count > 0 ? sum / count : 0);
  return {
    loss: mean(objective, updates),
    maskedLossBits: mean(masked.loss, masked.frames) / Math.LN2,
    ...(unmasked.frames > 0 && { unmaskedLossBits: unmasked.loss / unmasked.frames / Math.LN2 }),
    maskedAccuracy: mean(masked.correct, masked.frames),
    ...(unmasked.frames > 0 && { unmaskedAccuracy: unmasked.correct / unmasked.frames }),
    featurePenalty: mean(featurePenalty, updates),
  };
}
