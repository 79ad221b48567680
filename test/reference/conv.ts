/**
 * The convolutional ops, slow and obvious, in float64: values and gradients. Arrays are flat and row-major; shapes as in
 * native/cpu/ops.
 */

type Numbers = ArrayLike<number>;

/** erf by its Taylor series up to |x| = 3, by the continued fraction of erfc beyond. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a < 3) {
    let term = x;
    let total = x;
    for (let n = 1; n < 80; n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return (2 / Math.sqrt(Math.PI)) * total;
  }
  let fraction = 0;
  for (let k = 60; k > 0; k--) fraction = k / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

const normal = (x: number) => 0.5 * (1 + erf(x / Math.SQRT2));
export const gelu = (x: number) => x * normal(x);
export const geluDerivative = (x: number) => normal(x) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
export const map = (x: Numbers, f: (v: number) => number) => Float64Array.from(x, f);
/** dy gelu'(z), element by element. */
export const geluGrad = (z: Numbers, dy: Numbers) => Float64Array.from(z, (v, i) => dy[i] * geluDerivative(v));

export interface Conv {
  batch: number;
  time: number;
  inputs: number;
  outputs: number;
  kernel: number;
  stride: number;
  /** Channels are split into this many groups; 1 when absent. */
  groups?: number;
  /** Zeros before the first frame; 0 when absent. */
  padding?: number;
  /** Frames of the output; as many as fit without padding when absent. */
  frames?: number;
}

export const convFrames = (c: Conv) => c.frames ?? Math.floor((c.time - c.kernel) / c.stride) + 1;

/** visit(output index, input index, weight index) for every product of a convolution of x [B, T, Cin] with w [Cout, Cin/G, k]. */
function products(c: Conv, visit: (z: number, x: number, w: number) => void): void {
  const groups = c.groups ?? 1;
  const wide = c.inputs / groups;
  const frames = convFrames(c);
  for (let b = 0; b < c.batch; b++)
    for (let t = 0; t < frames; t++)
      for (let o = 0; o < c.outputs; o++) {
        const first = Math.floor(o / (c.outputs / groups)) * wide;
        for (let i = 0; i < wide; i++)
          for (let j = 0; j < c.kernel; j++) {
            const at = t * c.stride - (c.padding ?? 0) + j;
            if (at < 0 || at >= c.time) continue;
            visit(
              (b * frames + t) * c.outputs + o,
              (b * c.time + at) * c.inputs + first + i,
              (o * wide + i) * c.kernel + j,
            );
          }
      }
}

/** z [B, T', Cout]. */
export function conv(x: Numbers, w: Numbers, bias: Numbers | null, c: Conv): Float64Array {
  const z = new Float64Array(c.batch * convFrames(c) * c.outputs);
  for (let i = 0; i < z.length; i++) z[i] = bias ? bias[i % c.outputs] : 0;
  products(c, (at, xi, wi) => {
    z[at] += x[xi] * w[wi];
  });
  return z;
}

export function convGrad(x: Numbers, w: Numbers, dz: Numbers, c: Conv) {
  const dx = new Float64Array(x.length);
  const dw = new Float64Array(w.length);
  const dbias = new Float64Array(c.outputs);
  for (let i = 0; i < dz.length; i++) dbias[i % c.outputs] += dz[i];
  products(c, (at, xi, wi) => {
    dx[xi] += dz[at] * w[wi];
    dw[wi] += dz[at] * x[xi];
  });
  return { dx, dw, dbias };
}

/** The positional convolution's shape: as many frames out as in, the last of an even kernel's T + 1 dropped. */
export const positional = (batch: number, time: number, channels: number, groups: number, kernel: number): Conv => ({
  batch,
  time,
  inputs: channels,
  outputs: channels,
  kernel,
  stride: 1,
  groups,
  padding: Math.floor(kernel / 2),
  frames: time,
});

/** Mean and 1/std (biased variance) over time of each row and channel of v [B, T, C]. */
function timeStatistics(v: Numbers, batch: number, frames: number, channels: number, eps: number) {
  const mean = new Float64Array(batch * channels);
  const scale = new Float64Array(batch * channels);
  for (let b = 0; b < batch; b++)
    for (let c = 0; c < channels; c++) {
      let total = 0;
      let squares = 0;
      for (let t = 0; t < frames; t++) total += v[(b * frames + t) * channels + c];
      const m = total / frames;
      for (let t = 0; t < frames; t++) squares += (v[(b * frames + t) * channels + c] - m) ** 2;
      mean[b * channels + c] = m;
      scale[b * channels + c] = 1 / Math.sqrt(squares / frames + eps);
    }
  return { mean, scale };
}

/** conv0, GroupNorm with one channel a group, before GELU; and what the gradient needs of it. */
export function convNorm(wave: Numbers, w: Numbers, gamma: Numbers, beta: Numbers, c: Conv, eps: number) {
  const frames = convFrames(c);
  const v = conv(wave, w, null, c);
  const { mean, scale } = timeStatistics(v, c.batch, frames, c.outputs, eps);
  const normalised = v.map((value, e) => {
    const at = Math.floor(e / (frames * c.outputs)) * c.outputs + (e % c.outputs);
    return (value - mean[at]) * scale[at];
  });
  const z = normalised.map((value, e) => value * gamma[e % c.outputs] + beta[e % c.outputs]);
  return { z, normalised, scale };
}

export function convNormGelu(
  wave: Numbers,
  w: Numbers,
  gamma: Numbers,
  beta: Numbers,
  c: Conv,
  eps: number,
): Float64Array {
  return convNorm(wave, w, gamma, beta, c, eps).z.map(gelu);
}

/** Gradients by the usual chain: GELU, scale and shift, normalisation over time, convolution. */
export function convNormGeluGrad(
  wave: Numbers,
  w: Numbers,
  gamma: Numbers,
  beta: Numbers,
  dy: Numbers,
  c: Conv,
  eps: number,
) {
  const { z, normalised, scale } = convNorm(wave, w, gamma, beta, c, eps);
  const frames = convFrames(c);
  const dz = geluGrad(z, dy);
  const dgamma = new Float64Array(c.outputs);
  const dbeta = new Float64Array(c.outputs);
  const dv = new Float64Array(dz.length);
  for (let b = 0; b < c.batch; b++)
    for (let o = 0; o < c.outputs; o++) {
      let total = 0;
      let along = 0;
      for (let t = 0; t < frames; t++) {
        const e = (b * frames + t) * c.outputs + o;
        total += dz[e];
        along += dz[e] * normalised[e];
      }
      dbeta[o] += total;
      dgamma[o] += along;
      for (let t = 0; t < frames; t++) {
        const e = (b * frames + t) * c.outputs + o;
        dv[e] = gamma[o] * scale[b * c.outputs + o] * (dz[e] - total / frames - (normalised[e] * along) / frames);
      }
    }
  return { dw: convGrad(wave, w, dv, c).dw, dgamma, dbeta };
}

/** Mean [K] and biased covariance [K, K] of the windows of every row: [B, K + K*K]. */
export function windowMoments(wave: Numbers, c: Conv): Float64Array {
  const [frames, k] = [convFrames(c), c.kernel];
  const moments = new Float64Array(c.batch * (k + k * k));
  for (let b = 0; b < c.batch; b++) {
    const at = (t: number, j: number) => wave[b * c.time + t * c.stride + j];
    const row = moments.subarray(b * (k + k * k), (b + 1) * (k + k * k));
    for (let j = 0; j < k; j++) for (let t = 0; t < frames; t++) row[j] += at(t, j) / frames;
    for (let j = 0; j < k; j++)
      for (let i = 0; i < k; i++)
        for (let t = 0; t < frames; t++) row[k + j * k + i] += ((at(t, j) - row[j]) * (at(t, i) - row[i])) / frames;
  }
  return moments;
}

/** w[o, i, j] = g[j] v[o, i, j] / |v[.., j]|, one norm for each of the `g.length` taps. */
export function weightNorm(v: Numbers, g: Numbers): Float64Array {
  const norms = tapSums(v, v, g.length).map(Math.sqrt);
  return Float64Array.from(v, (value, e) => (g[e % g.length] * value) / norms[e % g.length]);
}

export function weightNormGrad(v: Numbers, g: Numbers, dw: Numbers) {
  const k = g.length;
  const squares = tapSums(v, v, k);
  const along = tapSums(v, dw, k);
  const dg = along.map((a, j) => a / Math.sqrt(squares[j]));
  const dv = Float64Array.from(v, (value, e) => {
    const j = e % k;
    return (g[j] / Math.sqrt(squares[j])) * (dw[e] - (value * along[j]) / squares[j]);
  });
  return { dv, dg };
}

function tapSums(a: Numbers, b: Numbers, taps: number): Float64Array {
  const sums = new Float64Array(taps);
  for (let e = 0; e < a.length; e++) sums[e % taps] += a[e] * b[e];
  return sums;
}
