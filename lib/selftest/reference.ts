/**
 * The ops once more, in double precision and as plainly as their formulas: what the kernels are compared with. Arrays are flat
 * and row-major; dimensions are named as in lib/nn/ops.ts (B batch, T frames, D model dimension, C channels, K taps or classes).
 */
import { Philox } from '../data/philox';

export type Doubles = Float64Array;
type Numbers = ArrayLike<number>;

const doubles = (length: number, value: (i: number) => number): Doubles =>
  Float64Array.from({ length }, (_, i) => value(i));

/** sum_i a[a0 + i as] b[b0 + i bs]. */
function dot(n: number, a: Numbers, a0: number, as: number, b: Numbers, b0: number, bs: number): number {
  let sum = 0;
  for (let i = 0; i < n; i++) sum += a[a0 + i * as] * b[b0 + i * bs];
  return sum;
}

/** erf by its power series near 0, else by the continued fraction of erfc (Abramowitz and Stegun 7.1.6, 7.1.14). */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; n < 80; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
  }
  let fraction = a;
  for (let n = 120; n >= 1; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * fraction));
}

export const gelu = (x: Numbers): Doubles => doubles(x.length, (i) => (x[i] / 2) * (1 + erf(x[i] / Math.SQRT2)));

/** Element e is kept when word e % 4 of block e / 4 reaches p 2^32; kept ones grow by 1 / (1 - p). */
export function dropout(x: Numbers, p: number, seed: number, draw: number, stream: number): Doubles {
  const random = new Philox(seed, draw, stream);
  const threshold = Math.floor(p * 2 ** 32);
  return doubles(x.length, (i) => (random.word() >= threshold ? x[i] / (1 - p) : 0));
}

/** x [rows, I], w [O, I], b [O]. */
export function linear(x: Numbers, w: Numbers, b: Numbers | null, inputs: number): Doubles {
  const outputs = w.length / inputs;
  return doubles((x.length / inputs) * outputs, (n) => {
    const [row, o] = [Math.floor(n / outputs), n % outputs];
    return dot(inputs, x, row * inputs, 1, w, o * inputs, 1) + (b ? b[o] : 0);
  });
}

/** x [rows, D]. */
export function layerNorm(x: Numbers, gamma: Numbers, beta: Numbers, eps: number): Doubles {
  const d = gamma.length;
  const out = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += d) {
    const row = Array.from({ length: d }, (_, i) => x[start + i]);
    const mean = row.reduce((a, b) => a + b, 0) / d;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / d;
    for (let i = 0; i < d; i++) out[start + i] = ((row[i] - mean) / Math.sqrt(variance + eps)) * gamma[i] + beta[i];
  }
  return out;
}

/** qkv [B, T, 3D] -> [B, T, D]; `factors` [B, heads, T, T] of the probabilities. */
export function attention(
  qkv: Numbers,
  lengths: Numbers,
  b: number,
  t: number,
  d: number,
  heads: number,
  factors: Numbers,
): Doubles {
  const out = new Float64Array(b * t * d);
  const width = d / heads;
  for (let r = 0; r < b; r++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < t; i++) {
        const at = (frame: number, part: number) => (r * t + frame) * 3 * d + part * d + h * width;
        const scores = doubles(lengths[r], (j) => dot(width, qkv, at(i, 0), 1, qkv, at(j, 1), 1) / Math.sqrt(width));
        const p = softmax(scores).map((value, j) => value * factors[((r * heads + h) * t + i) * t + j]);
        for (let e = 0; e < width; e++) {
          out[(r * t + i) * d + h * width + e] = dot(lengths[r], p, 0, 1, qkv, at(0, 2) + e, 3 * d);
        }
      }
    }
  }
  return out;
}

export function softmax(x: Numbers): Doubles {
  const top = Math.max(...Array.from(x));
  const e = doubles(x.length, (i) => Math.exp(x[i] - top));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((value) => value / sum);
}

function logSumExp(x: Numbers): number {
  const top = Math.max(...Array.from(x));
  return top + Math.log(Array.from(x).reduce((sum, value) => sum + Math.exp(value - top), 0));
}

/** x [B, T, D]: the embedding where masked, zero beyond the length. */
export function maskFrames(x: Numbers, mask: Numbers, lengths: Numbers, embedding: Numbers, t: number): Doubles {
  const d = embedding.length;
  return doubles(x.length, (n) => {
    const frame = Math.floor(n / d);
    if (frame % t >= lengths[Math.floor(frame / t)]) return 0;
    return mask[frame] ? embedding[n % d] : x[n];
  });
}

/** Rows of `d` by their index, zeros where there is no such row. */
export function gatherRows(x: Numbers, index: Numbers, d: number): Doubles {
  return doubles(index.length * d, (n) => x[index[Math.floor(n / d)] * d + (n % d)] ?? 0);
}

/** x [B, T, C], mask [B, C]. */
export function channelMask(x: Numbers, mask: Numbers, t: number, c: number): Doubles {
  return doubles(x.length, (n) => (mask[Math.floor(n / (t * c)) * c + (n % c)] ? 0 : x[n]));
}

/** x [B, T, I], w [O, I, K] -> [B, T', O], no padding. */
export function conv1d(
  x: Numbers,
  w: Numbers,
  b: Numbers | null,
  s: { t: number; inputs: number; taps: number; stride: number },
): Doubles {
  const { t, inputs, taps, stride } = s;
  const outputs = w.length / inputs / taps;
  const frames = Math.floor((t - taps) / stride) + 1;
  return doubles((x.length / t / inputs) * frames * outputs, (n) => {
    const [o, frame, row] = [n % outputs, Math.floor(n / outputs) % frames, Math.floor(n / outputs / frames)];
    let sum = b ? b[o] : 0;
    for (let k = 0; k < taps; k++) {
      sum += dot(inputs, x, (row * t + frame * stride + k) * inputs, 1, w, o * inputs * taps + k, taps);
    }
    return sum;
  });
}

/** The first convolution with one normalisation per channel over time, then GELU. wave [B, N], w [C, 1, K]. */
export function convNormGelu(
  wave: Numbers,
  w: Numbers,
  gamma: Numbers,
  beta: Numbers,
  s: { n: number; stride: number; eps: number },
): Doubles {
  const c = gamma.length;
  const y = conv1d(wave, w, null, { t: s.n, inputs: 1, taps: w.length / c, stride: s.stride });
  const rows = wave.length / s.n;
  const t = y.length / c / rows;
  for (let r = 0; r < rows; r++) {
    for (let o = 0; o < c; o++) {
      const values = Array.from({ length: t }, (_, i) => y[(r * t + i) * c + o]);
      const mean = values.reduce((a, b) => a + b, 0) / t;
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / t;
      for (let i = 0; i < t; i++)
        y[(r * t + i) * c + o] = ((values[i] - mean) / Math.sqrt(variance + s.eps)) * gamma[o] + beta[o];
    }
  }
  return gelu(y);
}

/** w = g v / |v| for each tap. v [O, I, K], g [K]. */
export function weightNorm(v: Numbers, g: Numbers): Doubles {
  const taps = g.length;
  const norms = Array.from({ length: taps }, (_, k) => Math.sqrt(dot(v.length / taps, v, k, taps, v, k, taps)));
  return doubles(v.length, (n) => (g[n % taps] * v[n]) / norms[n % taps]);
}

/** y[t] = GELU(sum_j w[j] x[t - K/2 + j] + b). x [B, T, D], w [D, D/G, K]. */
export function posConv(x: Numbers, w: Numbers, b: Numbers, s: { t: number; groups: number }): Doubles {
  const d = b.length;
  const inputs = d / s.groups;
  const taps = w.length / d / inputs;
  const z = doubles(x.length, (n) => {
    const [o, frame, row] = [n % d, Math.floor(n / d) % s.t, Math.floor(n / d / s.t)];
    let sum = b[o];
    for (let j = 0; j < taps; j++) {
      const at = frame - Math.floor(taps / 2) + j;
      if (at < 0 || at >= s.t) continue;
      sum += dot(inputs, x, (row * s.t + at) * d + Math.floor(o / inputs) * inputs, 1, w, o * inputs * taps + j, taps);
    }
    return sum;
  });
  return gelu(z);
}

/** -> loss in nats, count, correct of masked frames and of the others. h [B, T, D], w [P, D], e [K, P]. */
export function maskedCrossEntropy(
  h: Numbers,
  w: Numbers,
  bias: Numbers,
  e: Numbers,
  s: { labels: Numbers; mask: Numbers; lengths: Numbers; t: number; temperature: number },
): Doubles {
  const p = bias.length;
  const d = w.length / p;
  const classes = e.length / p;
  const z = linear(h, w, bias, d);
  const length = (x: Numbers, at: number) => Math.sqrt(dot(p, x, at, 1, x, at, 1));
  const sums = new Float64Array(6);
  for (let frame = 0; frame < h.length / d; frame++) {
    const label = s.labels[frame];
    if (label < 0 || frame % s.t >= s.lengths[Math.floor(frame / s.t)]) continue;
    const logits = doubles(
      classes,
      (k) => dot(p, z, frame * p, 1, e, k * p, 1) / length(z, frame * p) / length(e, k * p) / s.temperature,
    );
    const offset = s.mask[frame] ? 0 : 3;
    sums[offset] += logSumExp(logits) - logits[label];
    sums[offset + 1]++;
    if (logits.indexOf(Math.max(...logits)) === label) sums[offset + 2]++;
  }
  return sums;
}

/** The CTC loss of each row by the forward recursion (Graves et al. 2006, equations 6-8); 0 where no path exists. */
export function ctc(
  logits: Numbers,
  s: { t: number; v: number; frames: Numbers; targets: Numbers; targetLengths: Numbers },
): Doubles {
  const { t, v, frames, targets, targetLengths } = s;
  const width = targets.length / frames.length;
  return doubles(frames.length, (r) => {
    const extended = [0];
    for (let i = 0; i < targetLengths[r]; i++) extended.push(targets[r * width + i], 0);
    const score = (frame: number, symbol: number) => {
      const row = Array.from({ length: v }, (_, k) => logits[(r * t + frame) * v + k]);
      return row[symbol] - logSumExp(row);
    };
    const add = (...terms: number[]) => (terms.every((x) => x === -Infinity) ? -Infinity : logSumExp(terms));
    let alpha = extended.map((symbol, i) => (i < 2 ? score(0, symbol) : -Infinity));
    for (let frame = 1; frame < frames[r]; frame++) {
      alpha = extended.map((symbol, i) => {
        const skip = i > 1 && symbol !== 0 && symbol !== extended[i - 2] ? alpha[i - 2] : -Infinity;
        return add(alpha[i], i > 0 ? alpha[i - 1] : -Infinity, skip) + score(frame, symbol);
      });
    }
    const loss = -add(alpha[alpha.length - 1], alpha[alpha.length - 2] ?? -Infinity);
    return Number.isFinite(loss) ? loss : 0;
  });
}

/** -> loss in nats, rows, correct. x [N, K]. */
export function crossEntropy(x: Numbers, labels: Numbers): Doubles {
  const classes = x.length / labels.length;
  const sums = new Float64Array(3);
  for (let n = 0; n < labels.length; n++) {
    if (labels[n] < 0) continue;
    const row = Array.from({ length: classes }, (_, k) => x[n * classes + k]);
    sums[0] += logSumExp(row) - row[labels[n]];
    sums[1]++;
    if (row.indexOf(Math.max(...row)) === labels[n]) sums[2]++;
  }
  return sums;
}

/** Squared distance to every centroid: [rows, K]. */
export function distances(x: Numbers, centroids: Numbers, d: number): Doubles {
  const k = centroids.length / d;
  return doubles((x.length / d) * k, (n) => {
    let sum = 0;
    for (let i = 0; i < d; i++) sum += (x[Math.floor(n / k) * d + i] - centroids[(n % k) * d + i]) ** 2;
    return sum;
  });
}

/** Means of the rows with each label and of `weights` rows at the centroid; a centroid without either stays. [K, D]. */
export function kmeansUpdate(x: Numbers, labels: Numbers, centroids: Numbers, weights: Numbers): Doubles {
  const d = centroids.length / weights.length;
  const absorbed = Array.from(weights);
  const sums = Float64Array.from(centroids, (value, j) => value * weights[Math.floor(j / d)]);
  for (let n = 0; n < labels.length; n++) {
    if (labels[n] < 0 || labels[n] >= weights.length) continue;
    absorbed[labels[n]]++;
    for (let i = 0; i < d; i++) sums[labels[n] * d + i] += x[n * d + i];
  }
  return sums.map((sum, j) => (absorbed[Math.floor(j / d)] ? sum / absorbed[Math.floor(j / d)] : centroids[j]));
}

export interface AdamWHyper {
  learningRate: number;
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  clip: number;
  step: number;
}

/** One step on a single trainable segment: values, m, v after it, and the gradient's norm. */
export function adamw(values: Numbers, gradients: Numbers, m: Numbers, v: Numbers, o: AdamWHyper) {
  const n = values.length;
  const norm = Math.sqrt(dot(n, gradients, 0, 1, gradients, 0, 1));
  const scale = o.clip > 0 ? Math.min(1, o.clip / (norm + 1e-6)) : 1;
  const m1 = doubles(n, (i) => o.beta1 * m[i] + (1 - o.beta1) * gradients[i] * scale);
  const v1 = doubles(n, (i) => o.beta2 * v[i] + (1 - o.beta2) * (gradients[i] * scale) ** 2);
  const after = doubles(n, (i) => {
    const step = m1[i] / (1 - o.beta1 ** o.step) / (Math.sqrt(v1[i] / (1 - o.beta2 ** o.step)) + o.eps);
    return values[i] * (1 - o.learningRate * o.weightDecay) - o.learningRate * step;
  });
  return { values: after, m: m1, v: v1, norm };
}
