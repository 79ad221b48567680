/**
 * Every default of pretraining, in one place. A recipe depends on the model preset: base, large and xlarge follow the published
 * runs; nano, tiny and small are for minutes to hours of a CPU and follow what was seen to learn there:
 * - post-LN models at a learning rate of 2e-3 stay at the unigram entropy for ever, at 1e-3 they learn;
 * - updates of 16 s of audio learn more per second of audio than larger ones;
 * - the published masking (p .8: 57 % of the frames) hardly learns in a short run, .5 to .65 does;
 * - the feature extractor needs the whole gradient (published: a tenth), and there is nothing to drop out against.
 * What belongs to the model itself (front end, dropouts, LayerDrop, the extractor's gradient) is in its preset, lib/nn/config.ts.
 */
import { type PresetName, presets } from '../nn/config';
import type { PretrainConfig, PretrainOptions } from './config';

/** What a preset settles; the rest (intervals, the iterations' seeds and learning rates) follows from the schedule: see resolveConfig. */
export type Recipe = Omit<
  PretrainConfig,
  'corpus' | 'out' | 'model' | 'checkpoints' | 'validateEvery' | 'logEvery' | 'schedule'
> & {
  checkpoints: { keep: number };
  schedule: NonNullable<PretrainOptions['schedule']>;
};

type Common = Omit<Recipe, 'frontEnd' | 'featureGradMult' | 'dropouts' | 'layerDrop'>;

/** The common part: fairseq's HuBERT Base, LibriSpeech 960 h (hubert_base_librispeech.yaml and the paper, 2106.07447, section IV). */
const base: Common = {
  seed: 1,
  threads: 0,
  device: 'auto',
  precision: 'f32',
  checkpoint: 'none',
  trainSplits: [],
  validSplits: [],
  validMaxSeconds: 600,
  maxSkippedShare: 0.1,
  batchSeconds: 87.5,
  updateSeconds: 2800, // 32 GPUs x 87.5 s
  minSeconds: 2,
  maxSeconds: 15.625, // 250000 samples
  learningRate: 5e-4,
  warmup: 0.08,
  clip: 10,
  betas: [0.9, 0.98],
  eps: 1e-6,
  weightDecay: 0.01,
  mask: { probability: 0.8, length: 10 },
  loss: { maskedWeight: 1, unmaskedWeight: 0, penalty: 10, intermediateLayers: [] },
  checkpoints: { keep: 12 },
  kmeans: {
    share: 0.1,
    batchSize: 10_000,
    initialisations: 20,
    maxIterations: 100,
    patience: 100,
    memoryMiB: 1024,
  },
  schedule: [
    { teacher: 'mfcc', clusters: 100, updates: 250_000 },
    { teacher: { layer: 6 }, clusters: 500, updates: 400_000 },
  ],
};

/** fairseq's HuBERT Large: a larger batch, clip 1. Its teacher there is layer 9 of Base. */
const large: Common = {
  ...base,
  batchSeconds: 56.25,
  updateSeconds: 7200, // 128 GPUs x 56.25 s
  learningRate: 1.5e-3,
  clip: 1,
  schedule: [
    { teacher: 'mfcc', clusters: 100, updates: 250_000 },
    { teacher: { layer: 12 }, clusters: 500, updates: 400_000 },
  ],
};

const tiny: Common = {
  ...base,
  batchSeconds: 16,
  updateSeconds: 16,
  minSeconds: 1,
  maxSeconds: 8,
  validMaxSeconds: 120,
  learningRate: 1e-3,
  mask: { probability: 0.5, length: 10 },
  kmeans: { ...base.kmeans, share: 1, initialisations: 5 },
  schedule: [
    { teacher: 'mfcc', clusters: 100, updates: 4000 },
    { teacher: { layer: 2 }, clusters: 100, updates: 4000 },
  ],
};

const common: Record<PresetName, Common> = {
  nano: tiny,
  tiny,
  small: { ...tiny, batchSeconds: 32, updateSeconds: 32, mask: { probability: 0.65, length: 10 } },
  base,
  large,
  xlarge: large,
};

/** The recipe of a preset: the training above and the model's own defaults. */
export function recipe(preset: PresetName): Recipe {
  const { frontEnd, featureGradMult, layerDrop, ...model } = presets[preset];
  const dropouts = {
    input: model.inputDropout,
    hidden: model.hiddenDropout,
    attention: model.attentionDropout,
    activation: model.activationDropout,
  };
  return { ...common[preset], frontEnd, featureGradMult, dropouts, layerDrop };
}
