/** Model sizes. Names follow the field: dimensions as in Hugging Face's `HubertConfig`, dropouts as in fairseq's. */
import { HubertkitError } from '../errors';

export interface HubertConfig {
  /** `waveform`: the convolutional feature extractor. `mel`: log-mel (40 x 2 stacked, 80 numbers a frame), as MelHuBERT (2211.09944). */
  frontEnd: 'waveform' | 'mel';
  /** Channels of each convolution of the extractor. */
  convDim: number;
  convKernels: number[];
  convStrides: number[];
  /** `group`: GroupNorm after the first convolution (Base); `layer`: LayerNorm after each (Large, XLarge). */
  convNorm: 'group' | 'layer';
  hiddenSize: number;
  intermediateSize: number;
  heads: number;
  layers: number;
  /** Pre-LN blocks with a final layer norm (Large, XLarge) instead of post-LN. */
  normFirst: boolean;
  /** Dimension of the projection that is compared with the label embeddings. */
  projectionSize: number;
  posConvKernel: number;
  posConvGroups: number;
  /** Zero mean and unit variance for each utterance before the extractor (Large, XLarge). */
  normalizeWaveform: boolean;
  /** After the feature projection (fairseq `dropout_input`). */
  inputDropout: number;
  /** On residual branches (`dropout`) and before the first block. */
  hiddenDropout: number;
  attentionDropout: number;
  /** After the GELU of the feed-forward (`activation_dropout`). */
  activationDropout: number;
  /** Probability of leaving out a block in a training step. */
  layerDrop: number;
  /** The extractor's gradient is multiplied by this. */
  featureGradMult: number;
  logitTemperature: number;
}

export type PresetName = 'nano' | 'tiny' | 'small' | 'base' | 'large' | 'xlarge';

const base: HubertConfig = {
  frontEnd: 'waveform',
  convDim: 512,
  convKernels: [10, 3, 3, 3, 3, 2, 2],
  convStrides: [5, 2, 2, 2, 2, 2, 2],
  convNorm: 'group',
  hiddenSize: 768,
  intermediateSize: 3072,
  heads: 12,
  layers: 12,
  normFirst: false,
  projectionSize: 256,
  posConvKernel: 128,
  posConvGroups: 16,
  normalizeWaveform: false,
  inputDropout: 0.1,
  hiddenDropout: 0.1,
  attentionDropout: 0.1,
  activationDropout: 0,
  layerDrop: 0.05,
  featureGradMult: 0.1,
  logitTemperature: 0.1,
};

/** Models for minutes: no dropout (they never overfit in that time), the whole gradient for the extractor. */
const forMinutes = { inputDropout: 0, hiddenDropout: 0, attentionDropout: 0, layerDrop: 0, featureGradMult: 1 };

const large: HubertConfig = {
  ...base,
  convNorm: 'layer',
  hiddenSize: 1024,
  intermediateSize: 4096,
  heads: 16,
  layers: 24,
  normFirst: true,
  projectionSize: 768,
  normalizeWaveform: true,
  inputDropout: 0,
  hiddenDropout: 0,
  attentionDropout: 0,
  layerDrop: 0,
  featureGradMult: 1,
};

/** base and large: HuBERT (2106.07447) tables; xlarge: its 1B model; nano, tiny, small: ours, for CPUs. */
export const presets: Readonly<Record<PresetName, Readonly<HubertConfig>>> = {
  nano: { ...base, ...forMinutes, convDim: 64, hiddenSize: 128, intermediateSize: 512, heads: 2, layers: 4 },
  tiny: { ...base, ...forMinutes, convDim: 128, hiddenSize: 192, intermediateSize: 768, heads: 3, layers: 4 },
  small: { ...base, convDim: 256, hiddenSize: 384, intermediateSize: 1536, heads: 6, layers: 6 },
  base,
  large,
  xlarge: { ...large, hiddenSize: 1280, intermediateSize: 5120, heads: 16, layers: 48, projectionSize: 1024 },
};

/** A preset with any of its numbers replaced. Throws HK_CONFIG for an unknown preset, key or a combination that cannot be built. */
export function hubertConfig(preset: PresetName, overrides: Partial<HubertConfig> = {}): HubertConfig {
  const found = presets[preset];
  if (!found)
    throw new HubertkitError(
      'HK_CONFIG',
      `There is no preset '${preset}'; there are: ${Object.keys(presets).join(', ')}.`,
    );
  for (const key of Object.keys(overrides))
    if (!(key in found))
      throw new HubertkitError('HK_CONFIG', `A model has no '${key}'; it has: ${Object.keys(found).join(', ')}.`);
  const config = { ...found, ...overrides };
  checkConfig(config);
  return config;
}

export function checkConfig(c: HubertConfig): void {
  const refuse = (message: string) => {
    throw new HubertkitError('HK_CONFIG', message);
  };
  const counts = [
    'convDim',
    'hiddenSize',
    'intermediateSize',
    'heads',
    'layers',
    'projectionSize',
    'posConvKernel',
    'posConvGroups',
  ] as const;
  for (const key of counts)
    if (!Number.isSafeInteger(c[key]) || c[key] < 1)
      refuse(`${key} must be a whole number of at least 1, got ${c[key]}.`);
  if (c.hiddenSize % c.heads) refuse(`hiddenSize ${c.hiddenSize} does not split into ${c.heads} heads.`);
  if (c.hiddenSize % c.posConvGroups)
    refuse(`hiddenSize ${c.hiddenSize} does not split into ${c.posConvGroups} groups of the positional convolution.`);
  if (c.convKernels.length !== c.convStrides.length || c.convKernels.length === 0)
    refuse('convKernels and convStrides must have the same length.');
  for (const key of ['inputDropout', 'hiddenDropout', 'attentionDropout', 'activationDropout', 'layerDrop'] as const)
    if (!(c[key] >= 0 && c[key] < 1)) refuse(`${key} must be in [0, 1), got ${c[key]}.`);
}

/** Samples of one frame step (320) and of the window that one frame sees (400). */
export function frameGeometry(c: HubertConfig): { hop: number; window: number } {
  let hop = 1;
  let window = 1;
  c.convKernels.forEach((kernel, i) => {
    window += (kernel - 1) * hop;
    hop *= c.convStrides[i];
  });
  return { hop, window };
}

/** Frames of so many samples at 16 kHz; at 320/400: floor((n - 400)/320) + 1, never negative. */
export function frameCount(c: HubertConfig, samples: number): number {
  let length = samples;
  c.convKernels.forEach((kernel, i) => {
    length = Math.floor((length - kernel) / c.convStrides[i]) + 1;
  });
  return Math.max(0, length);
}
