/** Sums over the updates since the last line of metrics.jsonl; part of the state of a run, so that a resumed one logs the same means. */
import type { Metrics } from './metrics';

/** Frame-level sums of one kind of frames. */
export interface FrameSums {
  /** Cross-entropy in nats. */
  loss: number;
  count: number;
  correct: number;
}

export interface Window {
  masked: FrameSums;
  unmasked: FrameSums;
  /** Summed over updates: the objective in nats, the mean square of the features, the gradient norm before clipping. */
  objective: number;
  featurePenalty: number;
  gradientNorm: number;
  updates: number;
  /** Updates whose gradient was finite. */
  finite: number;
  audioSeconds: number;
}

const noFrames = (): FrameSums => ({ loss: 0, count: 0, correct: 0 });

export function emptyWindow(): Window {
  return {
    masked: noFrames(),
    unmasked: noFrames(),
    objective: 0,
    featurePenalty: 0,
    gradientNorm: 0,
    updates: 0,
    finite: 0,
    audioSeconds: 0,
  };
}

export function addFrames(sums: FrameSums, more: FrameSums): void {
  sums.loss += more.loss;
  sums.count += more.count;
  sums.correct += more.correct;
}

export function addWindow(window: Window, more: Window): void {
  addFrames(window.masked, more.masked);
  addFrames(window.unmasked, more.unmasked);
  window.objective += more.objective;
  window.featurePenalty += more.featurePenalty;
  window.gradientNorm += more.gradientNorm;
  window.updates += more.updates;
  window.finite += more.finite;
  window.audioSeconds += more.audioSeconds;
}

type Means = Pick<
  Metrics,
  'loss' | 'maskedLossBits' | 'unmaskedLossBits' | 'maskedAccuracy' | 'unmaskedAccuracy' | 'featurePenalty'
>;

/** The means of a window, losses in bits a frame; 0 for a kind of frames that did not occur. */
export function means(window: Window): Means {
  const mean = (sum: number, count: number) => (count > 0 ? sum / count : 0);
  const { masked, unmasked, updates } = window;
  return {
    loss: mean(window.objective, updates),
    maskedLossBits: mean(masked.loss, masked.count) / Math.LN2,
    unmaskedLossBits: mean(unmasked.loss, unmasked.count) / Math.LN2,
    maskedAccuracy: mean(masked.correct, masked.count),
    unmaskedAccuracy: mean(unmasked.correct, unmasked.count),
    featurePenalty: mean(window.featurePenalty, updates),
  };
}
