/** One entry for each op and size: how to build it, and its formula in double precision. Sizes are odd on purpose. */
import type { Dtype, Graph, Tensor } from '../nn/graph';
import * as ops from '../nn/ops';
import { mfccReference } from './mfcc';
import * as reference from './reference';

type Numbers = ArrayLike<number>;

export interface Feed {
  shape: number[];
  dtype: Dtype;
  data: number[];
}

export interface Case {
  op: string;
  size: string;
  /** Differentiable inputs: name and shape. They are filled with normal numbers of this `scale` (default 1). */
  inputs: Record<string, number[]>;
  /** Inputs that are activations, bf16 in a program of that precision; the others are weights. Absent: the op knows f32 alone. */
  activations?: string[];
  feeds?: Record<string, Feed>;
  build(x: Record<string, Tensor>, f: Record<string, Tensor>, graph: Graph): Tensor;
  reference(x: Record<string, Numbers>, f: Record<string, Numbers>): Numbers;
  /** Weights of the output elements in the objective whose gradient is checked (default: random; null: the op has none). */
  seed?: number[] | null;
  /** Dropout is active. */
  training?: boolean;
}

/** Dropout of all cases. */
export const random = { probability: 0.3, seed: 5, draw: 9 };

const i32 = (...data: number[]): Feed => ({ shape: [data.length], dtype: 'i32', data });
const table = (dtype: Dtype, rows: number, columns: number, value: (row: number, column: number) => number): Feed => ({
  shape: [rows, columns],
  dtype,
  data: Array.from({ length: rows * columns }, (_, n) => value(Math.floor(n / columns), n % columns)),
});
const every = (period: number, dtype: Dtype, rows: number, columns: number) =>
  table(dtype, rows, columns, (row, column) => Number((3 * row + column) % period === 0));

/** Lengths of `b` rows of `t` frames. */
const shrinking = (b: number, t: number) => i32(...Array.from({ length: b }, (_, r) => (r === 0 ? t : t - r - 1)));

export const cases: Case[] = [
  ...[
    [3, 5],
    [7, 131],
  ].flatMap(([rows, d]) => rowOps(rows, d)),
  ...[
    [2, 5, 6],
    [3, 37, 48],
  ].flatMap(([b, t, d]) => sequenceOps(b, t, d)),
  ...[
    [2, 5, 6, 2, 0],
    [3, 37, 48, 3, 0],
    [3, 37, 48, 3, random.probability],
    [1, 70, 64, 1, random.probability],
    [1, 70, 80, 1, random.probability],
  ].map(([b, t, d, heads, dropout]) => attention(b, t, d, heads, dropout)),
  ...[
    [1, 400],
    [2, 1700],
  ].map(([b, n]) => mfcc(b, n)),
  ...[
    [2, 57, 5, 10, 5],
    [2, 803, 35, 10, 5],
  ].map(([b, n, c, k, stride]) => convNormGelu(b, n, c, k, stride)),
  ...[
    [2, 9, 3, 4, 3, 2],
    [2, 41, 37, 33, 2, 2],
  ].flatMap(([b, t, i, o, k, stride]) => conv1d(b, t, i, o, k, stride)),
  ...[
    [2, 6, 4, 2, 3],
    [2, 21, 24, 4, 16],
    [1, 66, 10, 2, 65],
  ].flatMap(([b, t, d, groups, k]) => positional(b, t, d, groups, k)),
  ...[
    [2, 6, 5, 3, 7],
    [2, 33, 48, 20, 101],
  ].flatMap(([b, t, d, p, k]) => maskedCrossEntropy(b, t, d, p, k)),
  ...[
    [3, 6, 4, 2],
    [4, 37, 29, 11],
  ].map(([b, t, v, s]) => ctc(b, t, v, s)),
];

function rowOps(rows: number, d: number): Case[] {
  const size = `${rows} x ${d}`;
  const outputs = d + 2;
  const x = [rows, d];
  return [
    {
      op: 'add',
      size,
      activations: ['a', 'b'],
      inputs: { a: x, b: x },
      build: ({ a, b }) => ops.add(a, b),
      reference: ({ a, b }) => Array.from(a, (v, i) => v + b[i]),
    },
    {
      op: 'scale',
      size,
      activations: ['x'],
      inputs: { x },
      build: (p) => ops.scale(p.x, -0.7),
      reference: (p) => Array.from(p.x, (v) => -0.7 * v),
    },
    {
      op: 'gelu',
      size,
      activations: ['x'],
      inputs: { x },
      build: (p) => ops.gelu(p.x),
      reference: (p) => reference.gelu(p.x),
    },
    {
      op: 'dropout',
      size,
      training: true,
      activations: ['x'],
      inputs: { x },
      build: (p) => ops.dropout(p.x, random.probability, 4),
      reference: (p) => reference.dropout(p.x, random.probability, random.seed, random.draw, 4),
    },
    {
      op: 'linear',
      size,
      activations: ['x'],
      inputs: { x, w: [outputs, d], b: [outputs] },
      build: (p) => ops.linear(p.x, p.w, p.b),
      reference: (p) => reference.linear(p.x, p.w, p.b, d),
    },
    {
      op: 'linear, GELU',
      size,
      activations: ['x'],
      inputs: { x, w: [outputs, d], b: [outputs] },
      build: (p) => ops.linear(p.x, p.w, p.b, { activation: 'gelu' }),
      reference: (p) => reference.gelu(reference.linear(p.x, p.w, p.b, d)),
    },
    {
      op: 'layer_norm',
      size,
      activations: ['x'],
      inputs: { x, gamma: [d], beta: [d] },
      build: (p) => ops.layerNorm(p.x, p.gamma, p.beta),
      reference: (p) => reference.layerNorm(p.x, p.gamma, p.beta, 1e-5),
    },
    {
      op: 'add_layer_norm',
      size,
      activations: ['x', 'y'],
      inputs: { x, y: x, gamma: [d], beta: [d] },
      build: (p) => ops.addLayerNorm(p.x, p.y, p.gamma, p.beta),
      reference: (p) =>
        reference.layerNorm(
          Array.from(p.x, (v, i) => v + p.y[i]),
          p.gamma,
          p.beta,
          1e-5,
        ),
    },
    {
      op: 'add_layer_norm, dropout',
      size,
      training: true,
      activations: ['x', 'y'],
      inputs: { x, y: x, gamma: [d], beta: [d] },
      build: (p) => ops.addLayerNorm(p.x, p.y, p.gamma, p.beta, random.probability),
      reference: (p) => {
        const y = reference.dropout(p.y, random.probability, random.seed, random.draw, 0);
        return reference.layerNorm(
          Array.from(p.x, (v, i) => v + y[i]),
          p.gamma,
          p.beta,
          1e-5,
        );
      },
    },
    {
      op: 'mean_square',
      size,
      activations: ['x'],
      inputs: { x },
      build: (p) => ops.meanSquare(p.x),
      reference: (p) => [Array.from(p.x).reduce((sum, v) => sum + v * v, 0) / p.x.length],
    },
    {
      op: 'cross_entropy',
      size,
      inputs: { x },
      feeds: { labels: i32(...Array.from({ length: rows }, (_, n) => (n === 1 ? -1 : (n * 5) % d))) },
      build: (p, f) => ops.crossEntropy(p.x, f.labels),
      reference: (p, f) => reference.crossEntropy(p.x, f.labels),
      seed: [0.8, 0, 0],
    },
    {
      op: 'argmax',
      size,
      inputs: { x },
      build: (p) => ops.argmax(p.x),
      reference: (p) =>
        Array.from({ length: rows }, (_, n) => {
          const row = Array.from({ length: d }, (_, i) => p.x[n * d + i]);
          return row.indexOf(Math.max(...row));
        }),
      seed: null,
    },
    {
      op: 'kmeans_assign',
      size,
      inputs: { x, centroids: [outputs, d] },
      build: (p) => ops.kmeansAssign(p.x, p.centroids).labels,
      reference: (p) => {
        const all = reference.distances(p.x, p.centroids, d);
        return Array.from({ length: rows }, (_, n) => {
          const row = all.slice(n * outputs, (n + 1) * outputs);
          return row.indexOf(Math.min(...row));
        });
      },
      seed: null,
    },
    {
      op: 'kmeans_update',
      size,
      inputs: { x, centroids: [4, d] },
      feeds: {
        labels: i32(...Array.from({ length: rows }, (_, n) => (n % 4) - 1)),
        weights: i32(0, 3, 0, 1),
      },
      build: (p, f) => ops.kmeansUpdate(p.x, f.labels, p.centroids, f.weights).moved,
      reference: (p, f) => reference.kmeansUpdate(p.x, f.labels, p.centroids, f.weights),
      seed: null,
    },
  ];
}

function attention(b: number, t: number, d: number, heads: number, dropout: number): Case {
  let factors: Numbers | undefined;
  const drawn = () => {
    factors ??= reference.dropout(new Float64Array(b * heads * t * t).fill(1), dropout, random.seed, random.draw, 0);
    return factors;
  };
  return {
    op: dropout > 0 ? 'attention, dropout' : 'attention',
    size: `${b} x ${t} x ${d}, ${heads} heads`,
    training: dropout > 0,
    activations: ['qkv'],
    inputs: { qkv: [b, t, 3 * d] },
    feeds: { lengths: shrinking(b, t) },
    build: (p, f) => ops.attention(p.qkv, f.lengths, { heads, dropout }),
    reference: (p, f) => reference.attention(p.qkv, f.lengths, b, t, d, heads, drawn()),
  };
}

function sequenceOps(b: number, t: number, d: number): Case[] {
  const size = `${b} x ${t} x ${d}`;
  const lengths = shrinking(b, t);
  const x = [b, t, d];
  return [
    {
      op: 'mask_frames',
      size,
      activations: ['x'],
      inputs: { x, embedding: [d] },
      feeds: { mask: every(3, 'u8', b, t), lengths },
      build: (p, f) => ops.maskFrames(p.x, f.mask, f.lengths, p.embedding),
      reference: (p, f) => reference.maskFrames(p.x, f.mask, f.lengths, p.embedding, t),
    },
    {
      op: 'channel_mask',
      size,
      activations: ['x'],
      inputs: { x },
      feeds: { mask: every(3, 'u8', b, d) },
      build: (p, f) => ops.channelMask(p.x, f.mask),
      reference: (p, f) => reference.channelMask(p.x, f.mask, t, d),
    },
    {
      op: 'gather_rows',
      size,
      activations: ['x'],
      inputs: { x },
      feeds: { index: i32(b * t - 1, -1, 1, b * t, 0) },
      build: (p, f) => ops.gatherRows(p.x, f.index),
      reference: (p, f) => reference.gatherRows(p.x, f.index, d),
    },
    {
      op: 'select',
      size,
      activations: ['x'],
      inputs: { x },
      build: (p, _, graph) => graph.gated('open', p.x, (inner) => ops.scale(inner, 3)),
      reference: (p) => Array.from(p.x, (v) => 3 * v),
    },
  ];
}

function mfcc(b: number, n: number): Case {
  return {
    op: 'mfcc',
    size: `${b} x ${n}`,
    inputs: { wave: [b, n] },
    build: (p) => ops.mfcc(p.wave),
    reference: (p) =>
      Array.from({ length: b }, (_, row) =>
        mfccReference(Array.from({ length: n }, (_, i) => p.wave[row * n + i])),
      ).flat(2),
    seed: null,
  };
}

function convNormGelu(b: number, n: number, c: number, k: number, stride: number): Case {
  return {
    op: 'conv0_norm_gelu',
    size: `${b} x ${n}, ${c} channels`,
    activations: [],
    inputs: { w: [c, 1, k], gamma: [c], beta: [c] },
    feeds: {
      wave: table('f32', b, n, (row, i) =>
        Math.fround(0.3 * Math.sin(0.37 * i + row) + 0.2 * Math.sin(1.7 * i * (1 + row))),
      ),
    },
    build: (p, f) => ops.convNormGelu(f.wave, p.w, p.gamma, p.beta, stride),
    reference: (p, f) => reference.convNormGelu(f.wave, p.w, p.gamma, p.beta, { n, stride, eps: 1e-5 }),
  };
}

function conv1d(b: number, t: number, inputs: number, outputs: number, taps: number, stride: number): Case[] {
  const size = `${b} x ${t} x ${inputs} -> ${outputs}, kernel ${taps}`;
  const shapes = { x: [b, t, inputs], w: [outputs, inputs, taps], bias: [outputs] };
  const convolved = (p: Record<string, Numbers>) => reference.conv1d(p.x, p.w, p.bias, { t, inputs, taps, stride });
  return [
    {
      op: 'conv1d',
      size,
      activations: ['x'],
      inputs: shapes,
      build: (p) => ops.conv1d(p.x, p.w, p.bias, { stride }),
      reference: convolved,
    },
    {
      op: 'conv1d, GELU',
      size,
      activations: ['x'],
      inputs: shapes,
      build: (p) => ops.conv1d(p.x, p.w, p.bias, { stride, activation: 'gelu' }),
      reference: (p) => reference.gelu(convolved(p)),
    },
  ];
}

function positional(b: number, t: number, d: number, groups: number, taps: number): Case[] {
  const weight = [d, d / groups, taps];
  return [
    {
      op: 'weight_norm',
      size: weight.join(' x '),
      inputs: { v: weight, g: [1, 1, taps] },
      build: (p) => ops.weightNorm(p.v, p.g),
      reference: (p) => reference.weightNorm(p.v, p.g),
    },
    {
      op: 'pos_conv',
      size: `${b} x ${t} x ${d}, ${groups} groups, kernel ${taps}`,
      activations: ['x'],
      inputs: { x: [b, t, d], w: weight, bias: [d] },
      build: (p) => ops.posConv(p.x, p.w, p.bias, groups),
      reference: (p) => reference.posConv(p.x, p.w, p.bias, { t, groups }),
    },
  ];
}

function maskedCrossEntropy(b: number, t: number, d: number, p: number, k: number): Case[] {
  const feeds = {
    labels: table('i32', b, t, (row, i) => (i === 1 ? -1 : (7 * i + row) % k)),
    mask: every(2, 'u8', b, t),
    lengths: i32(...Array.from({ length: b }, (_, r) => t - r)),
  };
  const temperature = 0.1;
  const one = (unmasked: boolean): Case => ({
    op: unmasked ? 'masked_cross_entropy, all' : 'masked_cross_entropy',
    activations: ['hidden'],
    size: `${b} x ${t} x ${d}, ${k} clusters`,
    inputs: { hidden: [b, t, d], w: [p, d], bias: [p], embeddings: [k, p] },
    feeds,
    build: (x, f) =>
      ops.maskedCrossEntropy(
        {
          hidden: x.hidden,
          projectionWeight: x.w,
          projectionBias: x.bias,
          embeddings: x.embeddings,
          labels: f.labels,
          mask: f.mask,
          lengths: f.lengths,
        },
        { temperature, unmasked },
      ),
    reference: (x, f) => {
      const sums = reference.maskedCrossEntropy(x.hidden, x.w, x.bias, x.embeddings, {
        labels: f.labels,
        mask: f.mask,
        lengths: f.lengths,
        t,
        temperature,
      });
      return unmasked ? sums : sums.fill(0, 3);
    },
    seed: [0.9, 0, 0, unmasked ? 0.4 : 0, 0, 0],
  });
  return [one(false), one(true)];
}

/** The last row has a target that does not fit its frames: loss 0, gradient 0. */
function ctc(b: number, t: number, v: number, s: number): Case {
  return {
    op: 'ctc',
    size: `${b} x ${t} x ${v}, ${s} targets`,
    inputs: { logits: [b, t, v] },
    feeds: {
      frames: i32(...Array.from({ length: b }, (_, r) => (r === b - 1 ? s - 1 : t - r))),
      targets: table('i32', b, s, (row, i) => 1 + ((row + Math.floor(i / 2)) % (v - 1))),
      targetLengths: i32(...Array.from({ length: b }, (_, r) => (r === 1 ? s - 1 : s))),
    },
    build: (p, f) => ops.ctc(p.logits, f.frames, f.targets, f.targetLengths),
    reference: (p, f) =>
      reference.ctc(p.logits, { t, v, frames: f.frames, targets: f.targets, targetLengths: f.targetLengths }),
  };
}
