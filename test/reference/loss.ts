/** Slow and obvious float64 versions of the losses, of AdamW and of k-means: what the fast ones are tested against. */

export type Numbers = ArrayLike<number>;

export interface MaskedCrossEntropyInput {
  B: number;
  T: number;
  D: number;
  P: number;
  K: number;
  h: Numbers;
  wp: Numbers;
  bp: Numbers;
  e: Numbers;
  labels: Numbers;
  mask: Numbers;
  lengths: Numbers;
  temperature: number;
}

/** Per frame: group (0 masked, 1 unmasked, -1 not visited), loss in nats, correct. */
export function maskedCrossEntropyFrames(x: MaskedCrossEntropyInput): { group: number; loss: number; correct: boolean }[] {
  const { T, D, P, K } = x;
  return Array.from({ length: x.B * T }, (_, i) => {
    const label = x.labels[i];
    if (i % T >= x.lengths[Math.floor(i / T)] || label < 0 || label >= K) return { group: -1, loss: 0, correct: false };
    const z = Array.from({ length: P }, (_, p) => {
      let sum = x.bp[p];
      for (let d = 0; d < D; d++) sum += x.wp[p * D + d] * x.h[i * D + d];
      return sum;
    });
    const zNorm = Math.max(Math.hypot(...z), 1e-8);
    const logits = Array.from({ length: K }, (_, k) => {
      const e = Array.from({ length: P }, (_, p) => x.e[k * P + p]);
      const dot = z.reduce((sum, value, p) => sum + value * e[p], 0);
      return dot / (zNorm * Math.max(Math.hypot(...e), 1e-8)) / x.temperature;
    });
    const { loss, correct } = crossEntropyRow(logits, label);
    return { group: x.mask[i] ? 0 : 1, loss, correct };
  });
}

/** [masked loss, count, correct, unmasked loss, count, correct]. */
export function maskedCrossEntropySums(x: MaskedCrossEntropyInput): number[] {
  const sums = [0, 0, 0, 0, 0, 0];
  for (const { group, loss, correct } of maskedCrossEntropyFrames(x)) {
    if (group < 0) continue;
    sums[group * 3] += loss;
    sums[group * 3 + 1]++;
    sums[group * 3 + 2] += correct ? 1 : 0;
  }
  return sums;
}

export function crossEntropyRow(logits: readonly number[], label: number): { loss: number; correct: boolean } {
  const largest = Math.max(...logits);
  const lse = largest + Math.log(logits.reduce((sum, v) => sum + Math.exp(v - largest), 0));
  const collapsed = logits.every((v) => v === logits[0]);
  return { loss: lse - logits[label], correct: !collapsed && logits.indexOf(largest) === label };
}

export function softmax(logits: readonly number[]): number[] {
  const largest = Math.max(...logits);
  const e = logits.map((v) => Math.exp(v - largest));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map((v) => v / sum);
}

/** -ln of the sum of the probabilities of all V^T paths that read as `target` once repeats and blanks are taken out. */
export function ctcByEnumeration(logits: number[][], target: readonly number[], blank = 0): number {
  const probabilities = logits.map(softmax);
  const V = logits[0].length;
  let total = 0;
  for (let code = 0; code < V ** logits.length; code++) {
    const path = logits.map((_, t) => Math.floor(code / V ** t) % V);
    const read = path.filter((v, t) => v !== blank && (t === 0 || path[t - 1] !== v));
    if (read.length !== target.length || read.some((v, i) => v !== target[i])) continue;
    total += path.reduce((product, v, t) => product * probabilities[t][v], 1);
  }
  return -Math.log(total);
}

/** -ln p(target | logits) by the forward recursion in log space; Infinity when no path fits. */
export function ctcLoss(logits: number[][], target: readonly number[], blank = 0): number {
  const states = [blank, ...target.flatMap((v) => [v, blank])];
  const logAdd = (values: number[]) => {
    const largest = Math.max(...values);
    if (largest === Number.NEGATIVE_INFINITY) return largest;
    return largest + Math.log(values.reduce((sum, v) => sum + Math.exp(v - largest), 0));
  };
  let alpha = states.map((_, s) => (s === 0 ? 0 : Number.NEGATIVE_INFINITY));
  logits.forEach((row, t) => {
    const p = softmax(row).map(Math.log);
    alpha = states.map((v, s) => {
      const from = t === 0 ? [s < 2 ? 0 : Number.NEGATIVE_INFINITY] : [alpha[s]];
      if (t > 0 && s >= 1) from.push(alpha[s - 1]);
      if (t > 0 && s >= 2 && v !== blank && v !== states[s - 2]) from.push(alpha[s - 2]);
      return logAdd(from) + p[v];
    });
  });
  return -logAdd(states.length > 1 ? alpha.slice(-2) : alpha);
}

/** Central differences of f at x, one entry after the other. */
export function numericalGradient(x: Float64Array, f: () => number, step = 1e-5): Float64Array {
  return Float64Array.from(x, (value, i) => {
    x[i] = value + step;
    const up = f();
    x[i] = value - step;
    const down = f();
    x[i] = value;
    return (up - down) / (2 * step);
  });
}

export interface AdamwState {
  p: number[];
  g: number[];
  m: number[];
  v: number[];
}

/** One AdamW step as torch.optim.AdamW with clip_grad_norm_; returns the norm. `trainable[i]` is that of element i. */
export function adamwStep(
  s: AdamwState,
  trainable: (i: number) => boolean,
  o: { lr: number; beta1: number; beta2: number; eps: number; weightDecay: number; clip: number; step: number },
): number {
  const norm = Math.sqrt(s.g.reduce((sum, g, i) => sum + (trainable(i) ? g * g : 0), 0));
  const scale = o.clip > 0 ? Math.min(1, o.clip / (norm + 1e-6)) : 1;
  s.g.forEach((gradient, i) => {
    s.g[i] = 0;
    if (!trainable(i) || !Number.isFinite(norm)) return;
    const g = gradient * scale;
    s.m[i] = o.beta1 * s.m[i] + (1 - o.beta1) * g;
    s.v[i] = o.beta2 * s.v[i] + (1 - o.beta2) * g * g;
    const mhat = s.m[i] / (1 - o.beta1 ** o.step);
    const vhat = s.v[i] / (1 - o.beta2 ** o.step);
    s.p[i] = s.p[i] * (1 - o.lr * o.weightDecay) - (o.lr * mhat) / (Math.sqrt(vhat) + o.eps);
  });
  return norm;
}

/** The nearest centroid of each row and the squared distance to it. */
export function nearest(rows: Numbers, centroids: Numbers, dim: number): { labels: number[]; distances: number[] } {
  const labels: number[] = [];
  const distances: number[] = [];
  for (let i = 0; i < rows.length / dim; i++) {
    let best = Number.POSITIVE_INFINITY;
    let label = 0;
    for (let k = 0; k < centroids.length / dim; k++) {
      let sum = 0;
      for (let d = 0; d < dim; d++) sum += (rows[i * dim + d] - centroids[k * dim + d]) ** 2;
      if (sum < best) [best, label] = [sum, k];
    }
    labels.push(label);
    distances.push(best);
  }
  return { labels, distances };
}

/** Lloyd's iterations from given centroids until nothing moves; returns the inertia. */
export function lloyd(rows: Numbers, start: Numbers, dim: number, iterations = 100): { centroids: Float64Array; inertia: number } {
  const centroids = Float64Array.from(start);
  for (let iteration = 0; iteration < iterations; iteration++) {
    const { labels } = nearest(rows, centroids, dim);
    const sums = new Float64Array(centroids.length);
    const counts = new Float64Array(centroids.length / dim);
    labels.forEach((k, i) => {
      counts[k]++;
      for (let d = 0; d < dim; d++) sums[k * dim + d] += rows[i * dim + d];
    });
    let moved = 0;
    for (let j = 0; j < centroids.length; j++) {
      const count = counts[Math.floor(j / dim)];
      if (count === 0) continue;
      moved += Math.abs(sums[j] / count - centroids[j]);
      centroids[j] = sums[j] / count;
    }
    if (moved === 0) break;
  }
  return { centroids, inertia: nearest(rows, centroids, dim).distances.reduce((a, b) => a + b, 0) };
}

/** Seeded uniform numbers in [-1, 1) (mulberry32), rounded to float32. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.fround(((t ^ (t >>> 14)) >>> 0) / 2147483648 - 1);
  };
}
