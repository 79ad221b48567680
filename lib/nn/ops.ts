/**
 * The ops as functions on tensors: each checks shapes, emits the native op and states its gradient as more ops.
 * Shapes: B batch, T frames, N samples, D model dimension, C channels. The native contract of each op (inputs, attributes,
 * outputs, in this order) is described at the head of native/cpu/ops/<kind>.cpp.
 */
import { HubertkitError } from '../errors';
import { type Dtype, like, type Precision, type Shape, type Tensor } from './graph';

function check(condition: boolean, op: string, message: string): asserts condition {
  if (!condition) throw new HubertkitError('HK_SHAPE', `${op}: ${message}`);
}

function expectDtype(op: string, name: string, x: Tensor, dtype: Dtype): void {
  if (x.dtype !== dtype) throw new HubertkitError('HK_DTYPE', `${op}: ${name} must be ${dtype}, got ${x}.`);
}

function expectActivation(op: string, name: string, x: Tensor): void {
  if (x.dtype !== 'f32' && x.dtype !== 'bf16')
    throw new HubertkitError('HK_DTYPE', `${op}: ${name} must be f32 or bf16, got ${x}.`);
}

function expectShape(op: string, name: string, x: Tensor, shape: Shape, dtype: Dtype = 'f32'): void {
  expectDtype(op, name, x, dtype);
  check(String(x.shape) === String(shape), op, `${name} must be ${dtype}[${shape.join(', ')}], got ${x}.`);
}

const last = (x: Tensor) => x.shape[x.shape.length - 1];
const rows = (x: Tensor) => x.elements / last(x);

/** Frames after a convolution without padding. */
export const convFrames = (length: number, kernel: number, stride: number) =>
  Math.floor((length - kernel) / stride) + 1;

/** x stored as `dtype`; x itself where it is. */
export function cast(x: Tensor, dtype: Precision): Tensor {
  if (x.dtype === dtype) return x;
  return x.graph.emit('cast', [x], {}, [{ shape: x.shape, dtype }], {
    gradient: ([dy]) => [cast(dy!, x.dtype as Precision)],
  })[0]!;
}

/** a + b, same shape. */
export function add(a: Tensor, b: Tensor): Tensor {
  expectShape('add', 'b', b, a.shape, a.dtype);
  return a.graph.emit('add', [a, b], {}, [like(a)], { gradient: ([dy]) => [dy, dy] })[0]!;
}

/** factor * x. */
export function scale(x: Tensor, factor: number): Tensor {
  return x.graph.emit('scale', [x], { factor }, [like(x)], {
    gradient: ([dy]) => [scale(dy!, factor)],
  })[0]!;
}

/** x itself, whose gradient is multiplied by `factor` (fairseq's GradMultiply). */
export function scaleGradient(x: Tensor, factor: number): Tensor {
  return factor === 1 ? x : x.graph.alias(x, (dy) => dy && scale(dy, factor));
}

/** Zeroes elements with probability `p` and scales the others by 1/(1-p); x itself when the graph does not train. */
export function dropout(x: Tensor, p: number, stream?: number): Tensor {
  const g = x.graph;
  if (!g.training || p === 0) return x;
  const number = stream ?? g.nextStream();
  return g.emit('dropout', [x], { dropout: p, stream: number }, [like(x)], {
    gradient: ([dy]) => [dropout(dy!, p, number)],
  })[0]!;
}

/** Exact GELU, x/2 (1 + erf(x/sqrt 2)). */
export function gelu(x: Tensor): Tensor {
  return x.graph.emit('gelu', [x], {}, [like(x)], { gradient: ([dy]) => [geluGradient(x, dy!)] })[0]!;
}

function geluGradient(z: Tensor, dy: Tensor): Tensor {
  return z.graph.emit('gelu_grad', [z, dy], {}, [like(z)])[0]!;
}

export interface Activation {
  activation?: 'gelu';
}

/** x W^T + b over the last dimension. x [.., I], weight [O, I], bias [O] -> [.., O]; then GELU where asked for. */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null, options: Activation = {}): Tensor {
  const g = x.graph;
  expectActivation('linear', 'x', x);
  check(weight.shape.length === 2 && weight.shape[1] === last(x), 'linear', `x ${x} does not fit weight ${weight}.`);
  if (bias) expectShape('linear', 'bias', bias, [weight.shape[0]]);
  const z = { shape: [...x.shape.slice(0, -1), weight.shape[0]], dtype: x.dtype };
  const withGelu = options.activation === 'gelu';
  const outputs = g.emit('linear', [x, weight, bias], { gelu: withGelu ? 1 : 0 }, [z, withGelu ? z : null], {
    gradient: ([dy]) => {
      const dz = withGelu ? geluGradient(outputs[1]!, dy!) : dy!;
      const slots = [g.gradientSlot(weight), g.gradientSlot(bias)];
      if (!x.requiresGradient && !slots[0] && !slots[1]) return [];
      return [
        g.emit('linear_grad', [x, weight, dz], {}, [x.requiresGradient ? like(x) : null, ...slots])[0] ?? undefined,
      ];
    },
  });
  return outputs[0]!;
}

/** Layer norm over the last dimension. x [.., D], gamma and beta [D]. */
export function layerNorm(x: Tensor, gamma: Tensor, beta: Tensor, eps = 1e-5): Tensor {
  const g = x.graph;
  expectShape('layerNorm', 'gamma', gamma, [last(x)]);
  expectShape('layerNorm', 'beta', beta, [last(x)]);
  const [y, stats] = g.emit('layer_norm', [x, gamma, beta], { eps }, [like(x), { shape: [rows(x), 2] }], {
    gradient: ([dy]) => [g.emit('layer_norm_grad', [x, gamma, stats, dy!], {}, [like(x), slot(gamma), slot(beta)])[0]!],
  });
  return y!;
}

/** A place for the gradient of a weight that the op always computes: its slot, or an unused temporary where it is frozen. */
function slot(weight: Tensor) {
  return weight.graph.gradientSlot(weight) ?? { shape: weight.shape, accumulates: true };
}

/** LN(x + dropout(y)): the post-norm residual step. x, y [.., D]. */
export function addLayerNorm(x: Tensor, y: Tensor, gamma: Tensor, beta: Tensor, p = 0, eps = 1e-5): Tensor {
  const g = x.graph;
  expectShape('addLayerNorm', 'y', y, x.shape, x.dtype);
  expectShape('addLayerNorm', 'gamma', gamma, [last(x)]);
  expectShape('addLayerNorm', 'beta', beta, [last(x)]);
  const probability = g.training ? p : 0;
  const random = { dropout: probability, stream: g.nextStream() };
  const [h, s, stats] = g.emit(
    'add_layer_norm',
    [x, y, gamma, beta],
    { eps, ...random },
    [like(x), like(x), { shape: [rows(x), 2] }],
    {
      gradient: ([dh]) => {
        const separate = probability > 0;
        const [dx, dy] = g.emit('add_layer_norm_grad', [s, gamma, stats, dh!, null], random, [
          like(x),
          separate ? like(x) : null,
          slot(gamma),
          slot(beta),
        ]);
        return [dx!, separate ? dy! : dx!];
      },
    },
  );
  return h!;
}

/**
 * Multi-head self-attention, softmax(q k^T / sqrt(D/heads)) v, never storing T x T for the batch. qkv [B, T, 3D] (q, k and v side
 * by side), lengths i32[B]: keys at frames >= length are left out. -> [B, T, D].
 */
export function attention(qkv: Tensor, lengths: Tensor, options: { heads: number; dropout?: number }): Tensor {
  const g = qkv.graph;
  check(
    qkv.shape.length === 3 && qkv.shape[2] % (3 * options.heads) === 0,
    'attention',
    `qkv ${qkv} does not split into ${options.heads} heads.`,
  );
  const [b, t, d3] = qkv.shape;
  expectShape('attention', 'lengths', lengths, [b], 'i32');
  const attributes = { heads: options.heads, dropout: g.training ? (options.dropout ?? 0) : 0, stream: g.nextStream() };
  const outputs = [{ shape: [b, t, d3 / 3], dtype: qkv.dtype }, { shape: [b, options.heads, t] }];
  const [o, lse] = g.emit('attention', [qkv, lengths], attributes, outputs, {
    gradient: ([dO]) => [g.emit('attention_grad', [qkv, lengths, o, lse, dO!], attributes, [like(qkv)])[0]!],
  });
  return o!;
}

/** Masked frames become `embedding`, padded frames (t >= length) zero. x [B, T, D], mask u8[B, T], lengths i32[B], embedding [D]. */
export function maskFrames(x: Tensor, mask: Tensor, lengths: Tensor, embedding: Tensor): Tensor {
  const g = x.graph;
  check(x.shape.length === 3, 'maskFrames', `x must be [B, T, D], got ${x}.`);
  expectShape('maskFrames', 'mask', mask, x.shape.slice(0, 2), 'u8');
  expectShape('maskFrames', 'lengths', lengths, [x.shape[0]], 'i32');
  expectShape('maskFrames', 'embedding', embedding, [x.shape[2]]);
  return g.emit('mask_frames', [x, mask, lengths, embedding], {}, [like(x)], {
    gradient: ([dy]) => [g.emit('mask_frames_grad', [mask, lengths, dy!], {}, [like(x), slot(embedding)])[0]!],
  })[0]!;
}

/** The rows of x [.., D] that index i32[R] names, in its order -> [1, R, D]; zeros where it is no row of x. No row may be named twice. */
export function gatherRows(x: Tensor, index: Tensor): Tensor {
  const g = x.graph;
  expectActivation('gatherRows', 'x', x);
  expectShape('gatherRows', 'index', index, [index.elements], 'i32');
  const y = { shape: [1, index.elements, last(x)], dtype: x.dtype };
  return g.emit('gather_rows', [x, index], {}, [y], {
    gradient: ([dy]) => [g.emit('scatter_rows', [dy!, index], {}, [like(x)])[0]!],
  })[0]!;
}

/** Zeroes whole channels. x [B, T, C], mask u8[B, C]. */
export function channelMask(x: Tensor, mask: Tensor): Tensor {
  const g = x.graph;
  check(x.shape.length === 3, 'channelMask', `x must be [B, T, C], got ${x}.`);
  expectShape('channelMask', 'mask', mask, [x.shape[0], x.shape[2]], 'u8');
  return g.emit('channel_mask', [x, mask], {}, [like(x)], { gradient: ([dy]) => [channelMask(dy!, mask)] })[0]!;
}

/**
 * The first convolution, GroupNorm with one channel per group over time, GELU. waveform [B, N], weight [C, 1, K], gamma and
 * beta [C] -> [B, T, C]. The convolution's own output is never stored (statistics come from the windows' covariance).
 */
export function convNormGelu(
  waveform: Tensor,
  weight: Tensor,
  gamma: Tensor,
  beta: Tensor,
  stride: number,
  eps = 1e-5,
): Tensor {
  const g = waveform.graph;
  check(waveform.shape.length === 2, 'convNormGelu', `waveform must be [B, N], got ${waveform}.`);
  check(weight.shape.length === 3 && weight.shape[1] === 1, 'convNormGelu', `weight must be [C, 1, K], got ${weight}.`);
  const [b, n] = waveform.shape;
  const [c, , k] = weight.shape;
  const t = convFrames(n, k, stride);
  check(t >= 1, 'convNormGelu', `${n} samples are less than one window of ${k}.`);
  expectShape('convNormGelu', 'gamma', gamma, [c]);
  expectShape('convNormGelu', 'beta', beta, [c]);
  const outputs = [{ shape: [b, t, c], dtype: g.precision }, { shape: [b, k + k * k] }];
  const [y, moments] = g.emit('conv0_norm_gelu', [waveform, weight, gamma, beta], { stride, eps }, outputs, {
    gradient: ([dy]) => {
      g.emit('conv0_norm_gelu_grad', [waveform, weight, gamma, beta, moments, dy!], { stride, eps }, [
        slot(weight),
        slot(gamma),
        slot(beta),
      ]);
      return [];
    },
  });
  return y!;
}

/** Convolution over time without padding. x [B, T, Cin], weight [Cout, Cin, K], bias [Cout] -> [B, T', Cout]; then GELU where asked for. */
export function conv1d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null,
  options: { stride: number } & Activation,
): Tensor {
  const g = x.graph;
  const { stride } = options;
  check(
    x.shape.length === 3 && weight.shape.length === 3 && weight.shape[1] === x.shape[2],
    'conv1d',
    `x ${x} does not fit weight ${weight}.`,
  );
  const t = convFrames(x.shape[1], weight.shape[2], stride);
  check(t >= 1, 'conv1d', `${x.shape[1]} frames are less than one kernel of ${weight.shape[2]}.`);
  if (bias) expectShape('conv1d', 'bias', bias, [weight.shape[0]]);
  // A waveform (one channel) stays f32.
  const z = { shape: [x.shape[0], t, weight.shape[0]], dtype: weight.shape[1] === 1 ? g.precision : x.dtype };
  const withGelu = options.activation === 'gelu';
  const outputs = g.emit('conv1d', [x, weight, bias], { stride, gelu: withGelu ? 1 : 0 }, [z, withGelu ? z : null], {
    gradient: ([dy]) => {
      const dz = withGelu ? geluGradient(outputs[1]!, dy!) : dy!;
      const made = g.emit('conv1d_grad', [x, weight, dz], { stride }, [
        x.requiresGradient ? like(x) : null,
        slot(weight),
        bias ? slot(bias) : null,
      ]);
      return [made[0] ?? undefined];
    },
  });
  return outputs[0]!;
}

/** w = g v / |v|, one norm for each kernel tap (PyTorch's weight_norm over dim 2). v [O, I, K], g [1, 1, K]. */
export function weightNorm(v: Tensor, gain: Tensor): Tensor {
  const g = v.graph;
  check(v.shape.length === 3, 'weightNorm', `v must be [O, I, K], got ${v}.`);
  expectShape('weightNorm', 'g', gain, [1, 1, v.shape[2]]);
  return g.emit('weight_norm', [v, gain], {}, [like(v)], {
    gradient: ([dw]) => {
      g.emit('weight_norm_grad', [v, gain, dw!], {}, [slot(v), slot(gain)]);
      return [];
    },
  })[0]!;
}

/** GELU of the grouped positional convolution with same-padding (an even kernel drops the last frame). x [B, T, D], weight [D, D/G, K], bias [D]. */
export function posConv(x: Tensor, weight: Tensor, bias: Tensor, groups: number): Tensor {
  const g = x.graph;
  check(x.shape.length === 3, 'posConv', `x must be [B, T, D], got ${x}.`);
  const d = x.shape[2];
  check(d % groups === 0, 'posConv', `${d} channels do not split into ${groups} groups.`);
  expectShape('posConv', 'weight', weight, [d, d / groups, weight.shape[2]]);
  expectShape('posConv', 'bias', bias, [d]);
  const [y, z] = g.emit('pos_conv', [x, weight, bias], { groups, gelu: 1 }, [like(x), like(x)], {
    gradient: ([dy]) => {
      const dz = geluGradient(z!, dy!);
      const dx = x.requiresGradient ? like(x) : null;
      return [g.emit('pos_conv_grad', [x, weight, dz], { groups }, [dx, slot(weight), slot(bias)])[0] ?? undefined];
    },
  });
  return y!;
}

export interface MaskedCrossEntropyInputs {
  hidden: Tensor;
  projectionWeight: Tensor;
  projectionBias: Tensor;
  embeddings: Tensor;
  labels: Tensor;
  mask: Tensor;
  lengths: Tensor;
}

/**
 * Masked prediction: cross entropy of cosine(hidden W + b, e_k) / temperature (HuBERT, eq. 3-4). hidden [B, T, D], W [P, D], b [P],
 * e [K, P], labels i32[B, T] (< 0: no label), mask u8[B, T], lengths i32[B].
 * -> sums [6]: loss in nats, frames, correct over masked frames, then the same over unmasked frames (zeros unless `unmasked`).
 * The loss is weighted by the gradient given to sums: [weight of a masked frame, -, -, weight of an unmasked frame, -, -].
 */
export function maskedCrossEntropy(
  x: MaskedCrossEntropyInputs,
  options: { temperature?: number; unmasked?: boolean } = {},
): Tensor {
  const op = 'maskedCrossEntropy';
  const { hidden, projectionWeight: w, projectionBias: bias, embeddings, labels, mask, lengths } = x;
  const g = hidden.graph;
  check(hidden.shape.length === 3, op, `hidden must be [B, T, D], got ${hidden}.`);
  const [b, t, d] = hidden.shape;
  const p = w.shape[0];
  expectShape(op, 'projection weight', w, [p, d]);
  expectShape(op, 'projection bias', bias, [p]);
  expectShape(op, 'embeddings', embeddings, [embeddings.shape[0], p]);
  expectShape(op, 'labels', labels, [b, t], 'i32');
  expectShape(op, 'mask', mask, [b, t], 'u8');
  expectShape(op, 'lengths', lengths, [b], 'i32');
  const attributes = { temperature: options.temperature ?? 0.1, unmasked: options.unmasked ? 1 : 0 };
  const inputs = [hidden, w, bias, embeddings, labels, mask, lengths];
  const [sums, z, lse] = g.emit(
    'masked_cross_entropy',
    inputs,
    attributes,
    [{ shape: [6] }, { shape: [b * t, p] }, { shape: [b * t] }],
    {
      gradient: ([dsums]) => [
        g.emit('masked_cross_entropy_grad', [...inputs, z, lse, dsums!], attributes, [
          like(hidden),
          slot(w),
          slot(bias),
          slot(embeddings),
        ])[0]!,
      ],
    },
  );
  return sums!;
}

/** mean(x^2), [1]. */
export function meanSquare(x: Tensor): Tensor {
  const g = x.graph;
  return g.emit('mean_square', [x], {}, [{ shape: [1] }], {
    gradient: ([dy]) => [g.emit('mean_square_grad', [x, dy!], {}, [like(x)])[0]!],
  })[0]!;
}

/**
 * CTC loss (Graves et al. 2006) with zero_infinity. logits [B, T, V] (not normalised), frameLengths i32[B], targets i32[B, S],
 * targetLengths i32[B] -> [B] in nats; an impossible target gives 0 and no gradient.
 */
export function ctc(logits: Tensor, frameLengths: Tensor, targets: Tensor, targetLengths: Tensor, blank = 0): Tensor {
  const g = logits.graph;
  check(logits.shape.length === 3, 'ctc', `logits must be [B, T, V], got ${logits}.`);
  const b = logits.shape[0];
  expectShape('ctc', 'frameLengths', frameLengths, [b], 'i32');
  expectShape('ctc', 'targets', targets, [b, targets.shape[1]], 'i32');
  expectShape('ctc', 'targetLengths', targetLengths, [b], 'i32');
  const attributes = { blank, zero_infinity: 1 };
  const inputs = [logits, frameLengths, targets, targetLengths];
  const [loss, unit] = g.emit('ctc', inputs, attributes, [{ shape: [b] }, like(logits)], {
    gradient: ([dloss]) => [g.emit('ctc_grad', [unit, dloss!], {}, [like(logits)])[0]!],
  });
  return loss!;
}

/** Softmax cross entropy. logits [N, K], labels i32[N] (< 0: ignored) -> sums [3]: loss in nats, rows counted, correct. */
export function crossEntropy(logits: Tensor, labels: Tensor): Tensor {
  const g = logits.graph;
  check(logits.shape.length === 2, 'crossEntropy', `logits must be [N, K], got ${logits}.`);
  const n = logits.shape[0];
  expectShape('crossEntropy', 'labels', labels, [n], 'i32');
  const [sums, lse] = g.emit('cross_entropy', [logits, labels], {}, [{ shape: [3] }, { shape: [n] }], {
    gradient: ([dsums]) => [g.emit('cross_entropy_grad', [logits, labels, lse, dsums!], {}, [like(logits)])[0]!],
  });
  return sums!;
}

/** Index of the largest value along the last dimension; the lowest wins ties. -> i32[..]. */
export function argmax(x: Tensor): Tensor {
  return x.graph.emit('argmax', [x], {}, [{ shape: x.shape.slice(0, -1), dtype: 'i32' }])[0]!;
}

/** The nearest centroid of each row (squared Euclidean; the lowest index wins ties). x [.., D], centroids [K, D]. */
export function kmeansAssign(x: Tensor, centroids: Tensor): { labels: Tensor; distances: Tensor } {
  check(
    centroids.shape.length === 2 && centroids.shape[1] === last(x),
    'kmeansAssign',
    `x ${x} does not fit centroids ${centroids}.`,
  );
  const shape = x.shape.slice(0, -1);
  const [labels, distances] = x.graph.emit('kmeans_assign', [x, centroids], {}, [{ shape, dtype: 'i32' }, { shape }], {
    requiresGradient: false,
  });
  return { labels: labels!, distances: distances! };
}

/**
 * Centroids [K, D] moved to the mean of the rows of x [.., D] that have their label (i32[..]) and of the `weights` (i32[K]) rows that
 * they are the mean of already. -> moved [K, D], absorbed i32[K]: the rows that they are the mean of now.
 */
export function kmeansUpdate(
  x: Tensor,
  labels: Tensor,
  centroids: Tensor,
  weights: Tensor,
): { moved: Tensor; absorbed: Tensor } {
  const op = 'kmeansUpdate';
  check(
    centroids.shape.length === 2 && centroids.shape[1] === last(x),
    op,
    `x ${x} does not fit centroids ${centroids}.`,
  );
  expectShape(op, 'labels', labels, x.shape.slice(0, -1), 'i32');
  expectShape(op, 'weights', weights, [centroids.shape[0]], 'i32');
  const outputs = [like(centroids), { shape: weights.shape, dtype: 'i32' as const }];
  const [moved, absorbed] = x.graph.emit('kmeans_update', [x, labels, centroids, weights], {}, outputs, {
    requiresGradient: false,
  });
  return { moved: moved!, absorbed: absorbed! };
}

/** Kaldi's 39 MFCCs of a 16 kHz waveform [B, N], as {@link mfcc} of lib/data makes them. -> [B, (N - 400) / 160 + 1, 39] */
export function mfcc(wave: Tensor): Tensor {
  check(
    wave.shape.length === 2 && wave.shape[1] >= 400,
    'mfcc',
    `expected [B, N] with at least 400 samples, got ${wave}.`,
  );
  const [batch, samples] = wave.shape;
  return wave.graph.emit('mfcc', [wave], {}, [{ shape: [batch, convFrames(samples, 400, 160), 39] }], {
    requiresGradient: false,
  })[0]!;
}
