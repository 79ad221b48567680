/**
 * HuBERT (2106.07447) as a graph: feature extractor, projection, mask, positional convolution, encoder, heads. Parameter names
 * and shapes are those of Hugging Face's `HubertModel`; q, k and v are one block whose slices carry the names.
 */
import { type HubertConfig, frameCount } from './config';
import { type Checkpointing, type Graph, type Initialiser, Scope, type Tensor } from './graph';
import {
  add,
  addLayerNorm,
  attention,
  cast,
  channelMask,
  conv1d,
  convNormGelu,
  dropout,
  gatherRows,
  gelu,
  layerNorm,
  linear,
  maskedCrossEntropy,
  maskFrames,
  meanSquare,
  posConv,
  scaleGradient,
  weightNorm,
} from './ops';

// Initialisation, as fairseq's HuBERT: encoder linears N(0, .02), convolutions Kaiming-normal, projections PyTorch's default.
const zeros: Initialiser = { kind: 'zeros' };
const ones: Initialiser = { kind: 'constant', a: 1 };
const unit: Initialiser = { kind: 'uniform', a: 0, b: 1 };
const encoderLinear: Initialiser = { kind: 'normal', a: 0, b: 0.02 };
const kaiming = (fanIn: number): Initialiser => ({ kind: 'normal', a: 0, b: Math.sqrt(2 / fanIn) });
const pytorchLinear = (fanIn: number): Initialiser => ({
  kind: 'uniform',
  a: -1 / Math.sqrt(fanIn),
  b: 1 / Math.sqrt(fanIn),
});
const xavier = (fanIn: number, fanOut: number): Initialiser => {
  const bound = Math.sqrt(6 / (fanIn + fanOut));
  return { kind: 'uniform', a: -bound, b: bound };
};

export const melDimension = 80;

/** A batch: programs are compiled once for each. */
export interface BatchShape {
  batch: number;
  /** Samples of each row at 16 kHz. */
  samples: number;
}

/** Waveform [B, N] ([B, N, 1] with convNorm 'layer') -> conv features [B, T, C]. */
export function featureExtractor(waveform: Tensor, p: Scope, c: HubertConfig): Tensor {
  let x = waveform;
  c.convKernels.forEach((kernel, i) => {
    const layer = p.at(`conv_layers.${i}`);
    const channels = i === 0 ? 1 : c.convDim;
    const stride = c.convStrides[i];
    const weight = layer.parameter('conv.weight', [c.convDim, channels, kernel], kaiming(channels * kernel));
    const norm = () =>
      [
        layer.parameter('layer_norm.weight', [c.convDim], ones),
        layer.parameter('layer_norm.bias', [c.convDim], zeros),
      ] as const;
    if (c.convNorm === 'layer') {
      x = gelu(layerNorm(conv1d(x, weight, null, { stride }), ...norm()));
    } else {
      x =
        i === 0 ? convNormGelu(x, weight, ...norm(), stride) : conv1d(x, weight, null, { stride, activation: 'gelu' });
    }
  });
  return x;
}

/** Conv features [B, T, C] (or mel [B, T, 80]) -> [B, T, D]. */
export function featureProjection(features: Tensor, p: Scope, c: HubertConfig): Tensor {
  const dimension = features.shape[2];
  const normed = layerNorm(
    features,
    p.parameter('layer_norm.weight', [dimension], ones),
    p.parameter('layer_norm.bias', [dimension], zeros),
  );
  const init = pytorchLinear(dimension);
  const weight = p.parameter('projection.weight', [c.hiddenSize, dimension], init);
  return dropout(linear(normed, weight, p.parameter('projection.bias', [c.hiddenSize], init)), c.inputDropout);
}

function positional(x: Tensor, p: Scope, c: HubertConfig): Tensor {
  const { hiddenSize: d, posConvKernel: k, posConvGroups: groups } = c;
  // original0, the gain, begins as the norm of original1 (model.ts), as PyTorch's weight_norm does.
  const gain = p.parameter('parametrizations.weight.original0', [1, 1, k], ones);
  const v = p.parameter('parametrizations.weight.original1', [d, d / groups, k], {
    kind: 'normal',
    a: 0,
    b: Math.sqrt(4 / (k * d)),
  });
  return posConv(x, weightNorm(v, gain), p.parameter('bias', [d], zeros), groups);
}

const normOf = (p: Scope, d: number) => [p.parameter('weight', [d], ones), p.parameter('bias', [d], zeros)] as const;

/** Of x [B, T, D] the frames that are wanted. */
type Keep = (x: Tensor) => Tensor;

function selfAttention(x: Tensor, p: Scope, lengths: Tensor, c: HubertConfig, keep: Keep): Tensor {
  const d = c.hiddenSize;
  const parts = ['q_proj', 'k_proj', 'v_proj'];
  const rows = (suffix: string) => parts.map((part) => ({ name: `${part}.${suffix}`, rows: d }));
  const weight = p.stacked('qkv_proj.weight', [3 * d, d], rows('weight'), encoderLinear);
  const bias = p.stacked('qkv_proj.bias', [3 * d], rows('bias'), zeros);
  const heads = attention(linear(x, weight, bias), lengths, { heads: c.heads, dropout: c.attentionDropout });
  const weightOut = p.parameter('out_proj.weight', [d, d], encoderLinear);
  return linear(keep(heads), weightOut, p.parameter('out_proj.bias', [d], zeros));
}

function feedForward(x: Tensor, p: Scope, c: HubertConfig): Tensor {
  const { hiddenSize: d, intermediateSize: wide } = c;
  const inner = linear(
    x,
    p.parameter('intermediate_dense.weight', [wide, d], encoderLinear),
    p.parameter('intermediate_dense.bias', [wide], zeros),
    { activation: 'gelu' },
  );
  return linear(
    dropout(inner, c.activationDropout),
    p.parameter('output_dense.weight', [d, wide], encoderLinear),
    p.parameter('output_dense.bias', [d], zeros),
  );
}

/**
 * One block. Post-LN: LN(x + attention), LN(x + feed-forward); pre-LN: the norms stand before each. All frames are attended to; what comes
 * after is computed of those alone that `keep` keeps.
 */
export function encoderLayer(x: Tensor, p: Scope, lengths: Tensor, c: HubertConfig, keep: Keep): Tensor {
  const d = c.hiddenSize;
  const norm1 = normOf(p.at('layer_norm'), d);
  const norm2 = normOf(p.at('final_layer_norm'), d);
  if (!c.normFirst) {
    const heads = selfAttention(x, p.at('attention'), lengths, c, keep);
    const attended = addLayerNorm(keep(x), heads, ...norm1, c.hiddenDropout);
    return addLayerNorm(attended, feedForward(attended, p.at('feed_forward'), c), ...norm2, c.hiddenDropout);
  }
  const heads = selfAttention(layerNorm(x, ...norm1), p.at('attention'), lengths, c, keep);
  const attended = add(keep(x), dropout(heads, c.hiddenDropout));
  return add(attended, dropout(feedForward(layerNorm(attended, ...norm2), p.at('feed_forward'), c), c.hiddenDropout));
}

/** The LayerDrop gate of block `layer` (1-based). */
export const layerGate = (layer: number) => `layer ${layer}`;

export interface EncoderOptions {
  /** Blocks that run. Default: all. */
  depth?: number;
  /** Default none. */
  checkpoint?: Checkpointing;
  /** i32[R]: of the top block's output only these frames (b T + t; -1: none), [1, R, D]. Default: all, [B, T, D]. */
  topFrames?: Tensor;
}

/** Projected features [B, T, D] -> hidden states 0 (transformer input) .. `depth` (block outputs). */
export function encoder(
  x: Tensor,
  p: Scope,
  lengths: Tensor,
  c: HubertConfig,
  { depth = c.layers, checkpoint = 'none', topFrames }: EncoderOptions = {},
): Tensor[] {
  const g = x.graph;
  const norm = normOf(p.at('layer_norm'), c.hiddenSize);
  const position = positional(x, p.at('pos_conv_embed.conv'), c);
  let hidden = c.normFirst ? add(x, position) : addLayerNorm(x, position, ...norm);
  hidden = dropout(hidden, c.hiddenDropout);
  const states = [hidden];
  for (let layer = 1; layer <= depth; layer++) {
    const keep = (y: Tensor) => (topFrames && layer === depth ? gatherRows(y, topFrames) : y);
    const run = (y: Tensor) =>
      g.scope(`layer ${layer}`, () => encoderLayer(y, p.at(`layers.${layer - 1}`), lengths, c, keep));
    // The top block's backward pass comes right after its forward pass: to run it again would free nothing.
    const again = checkpoint === 'layers' && layer < depth;
    const block = (y: Tensor) => (again ? g.recomputed(y, run) : run(y));
    hidden = g.training && c.layerDrop > 0 ? g.gated(layerGate(layer), hidden, block, keep) : block(hidden);
    states.push(hidden);
  }
  if (c.normFirst && depth === c.layers) states[depth] = layerNorm(hidden, ...norm);
  return states;
}

/** The speech feed (`waveform` or `mel`) and everything up to the hidden states. */
export function hubert(
  g: Graph,
  shape: BatchShape,
  c: HubertConfig,
  options: EncoderOptions & { channels?: boolean } = {},
) {
  const p = new Scope(g);
  const frames = frameCount(c, shape.samples);
  const { batch, samples } = shape;
  const lengths = g.feed('frameLengths', [batch], 'i32');
  const features = g.scope('extractor', () => {
    if (c.frontEnd === 'mel') return cast(g.feed('mel', [batch, frames, melDimension]), g.precision);
    const wave = g.feed('waveform', c.convNorm === 'layer' ? [batch, samples, 1] : [batch, samples]);
    return scaleGradient(featureExtractor(wave, p.at('feature_extractor'), c), c.featureGradMult);
  });
  const projected = featureProjection(features, p.at('feature_projection'), c);
  const embedding = p.parameter('masked_spec_embed', [c.hiddenSize], unit);
  const mask = g.feed('mask', [batch, frames], 'u8');
  const channels = options.channels ? g.feed('channels', [batch, c.hiddenSize], 'u8') : undefined;
  let x = maskFrames(projected, mask, lengths, embedding);
  if (channels) x = channelMask(x, channels);
  const states = g.scope('encoder', () => encoder(x, p.at('encoder'), lengths, c, options));
  return { features, states, lengths, mask, frames };
}

/** The pretraining head on `hidden`: sums of maskedCrossEntropy. */
export function predictionHead(
  hidden: Tensor,
  labels: Tensor,
  mask: Tensor,
  lengths: Tensor,
  c: HubertConfig,
  clusters: number,
  unmasked: boolean,
): Tensor {
  const p = new Scope(hidden.graph);
  const init = pytorchLinear(c.hiddenSize);
  return maskedCrossEntropy(
    {
      hidden,
      projectionWeight: p.parameter('final_proj.weight', [c.projectionSize, c.hiddenSize], init),
      projectionBias: p.parameter('final_proj.bias', [c.projectionSize], init),
      embeddings: p.parameter('label_embs_concat', [clusters, c.projectionSize], unit),
      labels,
      mask,
      lengths,
    },
    { temperature: c.logitTemperature, unmasked },
  );
}

/** The CTC head (Hugging Face `HubertForCTC.lm_head`): [B, T, vocabulary]. */
export function ctcHead(hidden: Tensor, c: HubertConfig, vocabulary: number): Tensor {
  const p = new Scope(hidden.graph);
  return linear(
    hidden,
    p.parameter('lm_head.weight', [vocabulary, c.hiddenSize], xavier(c.hiddenSize, vocabulary)),
    p.parameter('lm_head.bias', [vocabulary], zeros),
  );
}

/** fairseq's feature penalty: mean(features^2), of the waveform extractor only. */
export const featurePenalty = (features: Tensor, c: HubertConfig) =>
  c.frontEnd === 'waveform' ? meanSquare(features) : undefined;
