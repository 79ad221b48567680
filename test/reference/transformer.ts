/** The transformer's ops, slow and obvious, in float64: values and gradients. Arrays are flat and row-major. */

export { erf, gelu } from './conv';

type Numbers = ArrayLike<number>;

/** x[rows, I] w[O, I]^T + bias[O]. */
export function linear(
  x: Numbers,
  w: Numbers,
  bias: Numbers | null,
  rows: number,
  inputs: number,
  outputs: number,
): Float64Array {
  const y = new Float64Array(rows * outputs);
  for (let r = 0; r < rows; r++)
    for (let o = 0; o < outputs; o++) {
      let total = bias ? bias[o] : 0;
      for (let i = 0; i < inputs; i++) total += x[r * inputs + i] * w[o * inputs + i];
      y[r * outputs + o] = total;
    }
  return y;
}

export function linearGrad(x: Numbers, w: Numbers, dz: Numbers, rows: number, inputs: number, outputs: number) {
  const dx = new Float64Array(rows * inputs);
  const dw = new Float64Array(outputs * inputs);
  const dbias = new Float64Array(outputs);
  for (let r = 0; r < rows; r++)
    for (let o = 0; o < outputs; o++) {
      const d = dz[r * outputs + o];
      dbias[o] += d;
      for (let i = 0; i < inputs; i++) {
        dx[r * inputs + i] += d * w[o * inputs + i];
        dw[o * inputs + i] += d * x[r * inputs + i];
      }
    }
  return { dx, dw, dbias };
}

/** y = (x - mean) / sqrt(variance + eps) gamma + beta for each row; stats = mean, 1/deviation. */
export function layerNorm(x: Numbers, gamma: Numbers, beta: Numbers, eps: number) {
  const width = gamma.length;
  const rows = x.length / width;
  const y = new Float64Array(x.length);
  const stats = new Float64Array(rows * 2);
  for (let r = 0; r < rows; r++) {
    const row = Array.from({ length: width }, (_, i) => x[r * width + i]);
    const mean = row.reduce((a, b) => a + b) / width;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / width;
    const inverse = 1 / Math.sqrt(variance + eps);
    row.forEach((value, i) => {
      y[r * width + i] = (value - mean) * inverse * gamma[i] + beta[i];
    });
    stats.set([mean, inverse], r * 2);
  }
  return { y, stats };
}

export function layerNormGrad(x: Numbers, gamma: Numbers, eps: number, dy: Numbers) {
  const width = gamma.length;
  const { stats } = layerNorm(x, gamma, new Float64Array(width), eps);
  const dx = new Float64Array(x.length);
  const dgamma = new Float64Array(width);
  const dbeta = new Float64Array(width);
  for (let r = 0; r < x.length / width; r++) {
    const [mean, inverse] = [stats[r * 2], stats[r * 2 + 1]];
    let meanG = 0;
    let meanGU = 0;
    for (let i = 0; i < width; i++) {
      const d = dy[r * width + i];
      const unit = (x[r * width + i] - mean) * inverse;
      dgamma[i] += d * unit;
      dbeta[i] += d;
      meanG += (d * gamma[i]) / width;
      meanGU += (d * gamma[i] * unit) / width;
    }
    for (let i = 0; i < width; i++) {
      const unit = (x[r * width + i] - mean) * inverse;
      dx[r * width + i] = (dy[r * width + i] * gamma[i] - meanG - unit * meanGU) * inverse;
    }
  }
  return { dx, dgamma, dbeta };
}

export interface AttentionShape {
  batch: number;
  frames: number;
  heads: number;
  depth: number;
}

/** softmax(q k^T / sqrt(depth)) of one head: probabilities[frames, frames] (0 at keys that the length hides) and lse[frames]. */
function probabilities(qkv: Numbers, s: AttentionShape, b: number, h: number, length: number) {
  const { frames, depth } = s;
  const width = s.heads * depth;
  const at = (t: number, block: number, i: number) => qkv[((b * frames + t) * 3 + block) * width + h * depth + i];
  const p = new Float64Array(frames * frames);
  const lse = new Float64Array(frames);
  for (let i = 0; i < frames && length > 0; i++) {
    const scores = Array.from({ length }, (_, j) => {
      let score = 0;
      for (let d = 0; d < depth; d++) score += at(i, 0, d) * at(j, 1, d);
      return score / Math.sqrt(depth);
    });
    const top = Math.max(...scores);
    const total = scores.reduce((a, x) => a + Math.exp(x - top), 0);
    lse[i] = top + Math.log(total);
    scores.forEach((x, j) => {
      p[i * frames + j] = Math.exp(x - lse[i]);
    });
  }
  return { p, lse, at };
}

const clampLength = (length: number, frames: number) => Math.min(Math.max(length, 0), frames);

/** o[B, T, D] and lse[B, heads, T]; `factors` is the dropout mask over [B, heads, T, T]. Length 0 gives zeros. */
export function attention(qkv: Numbers, lengths: Numbers, s: AttentionShape, factors: Numbers) {
  const { batch, frames, heads, depth } = s;
  const o = new Float64Array(batch * frames * heads * depth);
  const lse = new Float64Array(batch * heads * frames);
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++) {
      const head = probabilities(qkv, s, b, h, clampLength(lengths[b], frames));
      lse.set(head.lse, (b * heads + h) * frames);
      for (let i = 0; i < frames; i++)
        for (let j = 0; j < frames; j++) {
          const p = head.p[i * frames + j] * factors[((b * heads + h) * frames + i) * frames + j];
          for (let d = 0; d < depth; d++) o[((b * frames + i) * heads + h) * depth + d] += p * head.at(j, 2, d);
        }
    }
  return { o, lse };
}

/** dqkv by the chain rule, one probability at a time. */
export function attentionGrad(
  qkv: Numbers,
  lengths: Numbers,
  s: AttentionShape,
  factors: Numbers,
  dO: Numbers,
): Float64Array {
  const { batch, frames, heads, depth } = s;
  const width = heads * depth;
  const dqkv = new Float64Array(qkv.length);
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < heads; h++) {
      const { p, at } = probabilities(qkv, s, b, h, clampLength(lengths[b], frames));
      const place = (t: number, block: number, d: number) => ((b * frames + t) * 3 + block) * width + h * depth + d;
      for (let i = 0; i < frames; i++) {
        const upstream = (d: number) => dO[((b * frames + i) * heads + h) * depth + d];
        const dp = new Float64Array(frames);
        let inner = 0;
        for (let j = 0; j < frames; j++) {
          const factor = factors[((b * heads + h) * frames + i) * frames + j];
          for (let d = 0; d < depth; d++) {
            dp[j] += upstream(d) * at(j, 2, d) * factor;
            dqkv[place(j, 2, d)] += p[i * frames + j] * factor * upstream(d);
          }
          inner += p[i * frames + j] * dp[j];
        }
        for (let j = 0; j < frames; j++) {
          const ds = (p[i * frames + j] * (dp[j] - inner)) / Math.sqrt(depth);
          for (let d = 0; d < depth; d++) {
            dqkv[place(i, 0, d)] += ds * at(j, 1, d);
            dqkv[place(j, 1, d)] += ds * at(i, 0, d);
          }
        }
      }
    }
  return dqkv;
}

/** 0 where t >= length, the embedding where masked, else x. */
export function maskFrames(
  x: Numbers,
  mask: Numbers,
  lengths: Numbers,
  embedding: Numbers,
  frames: number,
): Float64Array {
  const width = embedding.length;
  return Float64Array.from({ length: x.length }, (_, e) => {
    const row = Math.floor(e / width);
    if (row % frames >= clampLength(lengths[Math.floor(row / frames)], frames)) return 0;
    return mask[row] ? embedding[e % width] : x[e];
  });
}

export function maskFramesGrad(mask: Numbers, lengths: Numbers, dy: Numbers, width: number, frames: number) {
  const dembedding = new Float64Array(width);
  const dx = Float64Array.from({ length: dy.length }, (_, e) => {
    const row = Math.floor(e / width);
    if (row % frames >= clampLength(lengths[Math.floor(row / frames)], frames)) return 0;
    if (mask[row]) dembedding[e % width] += dy[e];
    return mask[row] ? 0 : dy[e];
  });
  return { dx, dembedding };
}
