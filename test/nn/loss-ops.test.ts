import { callOp, type NdArray } from '../../lib/nn/call';
import { kmeansUpdate } from '../../lib/selftest/reference';
import {
  adamwStep,
  crossEntropyRow,
  ctcByEnumeration,
  ctcLoss,
  type MaskedCrossEntropyInput,
  maskedCrossEntropyFrames,
  maskedCrossEntropySums,
  nearest,
  numericalGradient,
  randomNumbers,
  softmax,
} from '../reference/loss';
import { distance as worst } from './close';

const f32 = (shape: number[], data: ArrayLike<number>): NdArray => ({ shape, data: Float32Array.from(data) });
const i32 = (shape: number[], data: ArrayLike<number>): NdArray => ({ shape, data: Int32Array.from(data) });
const u8 = (shape: number[], data: ArrayLike<number>): NdArray => ({ shape, data: Uint8Array.from(data) });

describe('masked cross-entropy', () => {
  function example(B: number, T: number, D: number, P: number, K: number, seed = 1): MaskedCrossEntropyInput {
    const random = randomNumbers(seed);
    const draw = (n: number, scale = 1) => Float64Array.from({ length: n }, () => Math.fround(random() * scale));
    const labels = Array.from({ length: B * T }, () => Math.floor(((random() + 1) / 2) * K));
    labels[1] = -1;
    labels[2] = K;
    return {
      B,
      T,
      D,
      P,
      K,
      h: draw(B * T * D),
      wp: draw(P * D, 0.5),
      bp: draw(P, 0.1),
      e: draw(K * P),
      labels,
      mask: Array.from({ length: B * T }, () => (random() > -0.1 ? 1 : 0)),
      lengths: Array.from({ length: B }, (_, b) => (b === 0 ? T : Math.max(1, T - 3 * b))),
      temperature: 0.1,
    };
  }

  const inputsOf = (x: MaskedCrossEntropyInput): NdArray[] => [
    f32([x.B, x.T, x.D], x.h),
    f32([x.P, x.D], x.wp),
    f32([x.P], x.bp),
    f32([x.K, x.P], x.e),
    i32([x.B, x.T], x.labels),
    u8([x.B, x.T], x.mask),
    i32([x.B], x.lengths),
  ];

  const forward = (x: MaskedCrossEntropyInput, unmasked: number) =>
    callOp('masked_cross_entropy', inputsOf(x), { temperature: x.temperature, unmasked }, [
      { shape: [6] },
      { shape: [x.B * x.T, x.P] },
      { shape: [x.B * x.T] },
    ]);

  async function gradient(x: MaskedCrossEntropyInput, weights: [number, number], unmasked = 1): Promise<NdArray[]> {
    const [, z, lse] = await forward(x, unmasked);
    const dsums = f32([6], [weights[0], 7, 7, weights[1], 7, 7]);
    return callOp(
      'masked_cross_entropy_grad',
      [...inputsOf(x), z, lse, dsums],
      { temperature: x.temperature, unmasked },
      [
        { shape: [x.B, x.T, x.D] },
        { shape: [x.P, x.D], accumulates: true },
        { shape: [x.P], accumulates: true },
        { shape: [x.K, x.P], accumulates: true },
      ],
    );
  }

  test.each([
    [2, 13, 8, 6, 7],
    [3, 50, 48, 16, 20],
    [2, 600, 20, 17, 33],
    [1, 5, 3, 1, 2],
  ])('sums of %d x %d frames agree with the float64 reference', async (B, T, D, P, K) => {
    const x = example(B, T, D, P, K);
    const expected = maskedCrossEntropySums(x);
    const [both] = await forward(x, 1);
    expect(worst(both.data.subarray(0, 3), expected.slice(0, 3))).toBeLessThan(2e-5);
    expect(worst(both.data.subarray(3), expected.slice(3))).toBeLessThan(2e-5);
    const [masked] = await forward(x, 0);
    expect(worst(masked.data.subarray(0, 3), both.data.subarray(0, 3))).toBeLessThan(1e-6);
    expect([...masked.data.subarray(3)]).toEqual([0, 0, 0]);
  });

  test.each([
    [1, 0],
    [0.7, 0.3],
    [0, 1],
  ])('gradients for weights %d and %d agree with central differences', async (masked, unmasked) => {
    const x = example(2, 9, 5, 4, 6, 3);
    const objective = () => {
      let sum = 0;
      for (const { group, loss } of maskedCrossEntropyFrames(x))
        if (group >= 0) sum += loss * (group === 0 ? masked : unmasked);
      return sum;
    };
    const [dh, dwp, dbp, de] = await gradient(x, [masked, unmasked]);
    expect(worst(dh.data, numericalGradient(x.h as Float64Array, objective))).toBeLessThan(1e-4);
    expect(worst(dwp.data, numericalGradient(x.wp as Float64Array, objective))).toBeLessThan(1e-4);
    expect(worst(dbp.data, numericalGradient(x.bp as Float64Array, objective))).toBeLessThan(1e-4);
    expect(worst(de.data, numericalGradient(x.e as Float64Array, objective))).toBeLessThan(1e-4);
  });

  test('gradients over several tiles are the sum of the gradients of the rows', async () => {
    const x = example(2, 400, 6, 5, 9, 4);
    const [dh, dwp, dbp, de] = await gradient(x, [1, 0]);
    const parts = await Promise.all(
      [0, 1].map((b) =>
        gradient(
          {
            ...x,
            B: 1,
            h: Array.from(x.h).slice(b * 2400, b * 2400 + 2400),
            labels: Array.from(x.labels).slice(b * 400, b * 400 + 400),
            mask: Array.from(x.mask).slice(b * 400, b * 400 + 400),
            lengths: [x.lengths[b]],
          },
          [1, 0],
        ),
      ),
    );
    expect(worst(dh.data, [...parts[0][0].data, ...parts[1][0].data])).toBeLessThan(1e-5);
    [dwp, dbp, de].forEach((total, i) => {
      const sum = Array.from(parts[0][i + 1].data, (value, j) => value + parts[1][i + 1].data[j]);
      expect(worst(total.data, sum)).toBeLessThan(1e-5);
    });
  });

  test('with no masked frame the sums and all gradients are zero', async () => {
    const x = { ...example(1, 6, 4, 3, 5), mask: [0, 0, 0, 0, 0, 0] };
    expect([...(await forward(x, 0))[0].data]).toEqual([0, 0, 0, 0, 0, 0]);
    for (const g of await gradient(x, [1, 0], 0)) expect(g.data.every((v) => v === 0)).toBe(true);
  });

  test('a collapsed model, whose embeddings are all equal, gets nothing right by chance', async () => {
    const x = example(1, 8, 4, 3, 5);
    const [sums] = await forward(
      { ...x, e: Array.from({ length: 15 }, (_, i) => [0.5, -1, 2][i % 3]), labels: Array(8).fill(0) },
      1,
    );
    expect(sums.data[2] + sums.data[5]).toBe(0);
    expect(sums.data[0]).toBeCloseTo(sums.data[1] * Math.log(5), 4);
  });

  test('zero vectors have clamped norms: logits 0, no NaN in the gradient', async () => {
    const x = example(1, 8, 4, 3, 5);
    const zero = { ...x, wp: new Float64Array(12), bp: new Float64Array(3) };
    const [sums] = await forward(zero, 1);
    expect(sums.data[0]).toBeCloseTo(sums.data[1] * Math.log(5), 4);
    for (const g of await gradient(zero, [1, 1])) expect(g.data.every(Number.isFinite)).toBe(true);
  });

  test('shapes that do not fit are refused by name', async () => {
    const x = example(1, 8, 4, 3, 5);
    const inputs = inputsOf(x);
    inputs[2] = f32([4], [0, 0, 0, 0]);
    const call = callOp('masked_cross_entropy', inputs, {}, [{ shape: [6] }, { shape: [8, 3] }, { shape: [8] }]);
    await expect(call).rejects.toMatchObject({ message: expect.stringMatching(/bp must be f32\[3\], got f32\[4\]/) });
  });
});

describe('cross-entropy', () => {
  const random = randomNumbers(5);
  const [N, K] = [70, 37];
  const logits = Array.from({ length: N * K }, () => random() * 8);
  const labels = Array.from({ length: N }, (_, i) => (i % 9 === 0 ? -1 : Math.floor(((random() + 1) / 2) * K)));
  const rows = Array.from({ length: N }, (_, i) => Array.from(Float32Array.from(logits.slice(i * K, (i + 1) * K))));

  test('sums and gradient agree with the float64 reference; ignored rows count for nothing', async () => {
    const inputs = [f32([N, K], logits), i32([N], labels)];
    const [sums, lse] = await callOp('cross_entropy', inputs, {}, [{ shape: [3] }, { shape: [N] }]);
    const expected = [0, 0, 0];
    const expectedGradient: number[] = [];
    rows.forEach((row, i) => {
      const kept = labels[i] >= 0;
      if (kept) {
        const { loss, correct } = crossEntropyRow(row, labels[i]);
        expected[0] += loss;
        expected[1]++;
        expected[2] += correct ? 1 : 0;
      }
      expectedGradient.push(...softmax(row).map((p, k) => (kept ? 0.25 * (p - (k === labels[i] ? 1 : 0)) : 0)));
    });
    expect(worst(sums.data, expected)).toBeLessThan(1e-5);
    const [dlogits] = await callOp('cross_entropy_grad', [...inputs, lse, f32([3], [0.25, 0, 0])], {}, [
      { shape: [N, K] },
    ]);
    expect(worst(dlogits.data, expectedGradient)).toBeLessThan(1e-5);
  });
});

describe('CTC', () => {
  function run(logits: number[][][], targets: number[][], frames?: number[], zeroInfinity = 1) {
    const [B, T, V] = [logits.length, logits[0].length, logits[0][0].length];
    const S = Math.max(1, ...targets.map((t) => t.length));
    const padded = targets.flatMap((t) => [...t, ...Array(S - t.length).fill(-7)]);
    const inputs = [
      f32([B, T, V], logits.flat(2)),
      i32([B], frames ?? Array(B).fill(T)),
      i32([B, S], padded),
      i32(
        [B],
        targets.map((t) => t.length),
      ),
    ];
    return callOp('ctc', inputs, { blank: 0, zero_infinity: zeroInfinity }, [{ shape: [B] }, { shape: [B, T, V] }]);
  }
  const draw = (T: number, V: number, seed: number, scale = 2) => {
    const random = randomNumbers(seed);
    return Array.from({ length: T }, () => Array.from({ length: V }, () => Math.fround(random() * scale)));
  };
  const tiny: [string, number[]][] = [
    ['one label', [1]],
    ['two labels', [1, 2]],
    ['a repeated label', [2, 2]],
    ['repeats in the middle', [1, 2, 2]],
    ['no label', []],
    ['three of the same', [1, 1, 1]],
  ];

  test.each(tiny)('%s: the loss is that of the sum over all paths', async (_, target) => {
    const logits = draw(5, 3, 11);
    const expected = ctcByEnumeration(logits, target);
    expect(ctcLoss(logits, target)).toBeCloseTo(expected, 10);
    const [loss] = await run([logits], [target]);
    expect(loss.data[0]).toBeCloseTo(expected, 5);
  });

  test.each(tiny)('%s: the gradient is that of the float64 reference by central differences', async (_, target) => {
    const logits = draw(7, 4, 12);
    const flat = Float64Array.from(logits.flat());
    const loss = () =>
      ctcLoss(
        Array.from({ length: 7 }, (_, t) => Array.from(flat.subarray(t * 4, t * 4 + 4))),
        target,
      );
    const [, unit] = await run([logits], [target]);
    expect(worst(unit.data, numericalGradient(flat, loss))).toBeLessThan(1e-5);
  });

  test('rows of different lengths are independent, and frames behind the length get no gradient', async () => {
    const logits = [draw(20, 6, 1), draw(20, 6, 2), draw(20, 6, 3)];
    const targets = [[1, 5, 5, 2], [3], []];
    const frames = [20, 4, 9];
    const [loss, unit] = await run(logits, targets, frames);
    targets.forEach((target, b) => {
      expect(loss.data[b]).toBeCloseTo(ctcLoss(logits[b].slice(0, frames[b]), target), 4);
      const row = unit.data.subarray(b * 120, b * 120 + 120);
      expect(row.subarray(frames[b] * 6).every((v) => v === 0)).toBe(true);
      expect(row.subarray(0, frames[b] * 6).some((v) => v !== 0)).toBe(true);
    });
  });

  test('a long, confidently wrong row keeps its precision', async () => {
    const logits = Array.from({ length: 400 }, () => [30, 0, 0, 0]);
    const target = Array.from({ length: 100 }, (_, i) => 1 + (i % 3));
    const [loss, unit] = await run([logits], [target]);
    const expected = ctcLoss(logits, target);
    expect(expected).toBeGreaterThan(2000);
    expect(Math.abs(loss.data[0] - expected) / expected).toBeLessThan(1e-6);
    const perFrame = Array.from({ length: 400 }, (_, t) =>
      [...unit.data.subarray(t * 4, t * 4 + 4)].reduce((a, b) => a + b, 0),
    );
    expect(Math.max(...perFrame.map(Math.abs))).toBeLessThan(1e-4); // softmax and occupancy both sum to 1
  });

  test('a target that does not fit has loss infinity, or 0 with zero_infinity, and no gradient', async () => {
    const logits = [draw(3, 4, 5), draw(3, 4, 6), draw(3, 4, 7)];
    const targets = [[1, 1, 2], [1, 2, 3], [1]]; // the first needs 4 frames, the last has none
    const [zeroed, unit] = await run(logits, targets, [3, 3, 0]);
    expect([zeroed.data[0], zeroed.data[2]]).toEqual([0, 0]);
    expect(zeroed.data[1]).toBeGreaterThan(0);
    expect(unit.data.subarray(0, 12).every((v) => v === 0)).toBe(true);
    expect((await run(logits, targets, [3, 3, 0], 0))[0].data[0]).toBe(Number.POSITIVE_INFINITY);
  });

  test('an upstream gradient scales each row', async () => {
    const unit = f32([2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8]);
    const [dlogits] = await callOp('ctc_grad', [unit, f32([2], [2, -1])], {}, [{ shape: [2, 2, 2] }]);
    expect([...dlogits.data]).toEqual([2, 4, 6, 8, -5, -6, -7, -8]);
  });

  test.each([
    ['a target outside the alphabet', [[9]], [4]],
    ['a blank as target', [[0]], [4]],
    ['more frames than there are', [[1]], [5]],
    ['a negative length', [[1]], [-1]],
  ])('%s is refused', async (_, targets, frames) => {
    await expect(run([draw(4, 3, 1)], targets, frames)).rejects.toMatchObject({
      message: expect.stringMatching(/ctc: /),
    });
  });
});

describe('AdamW', () => {
  // The op takes its settings as float32; 1 - beta2 feels that.
  const hyper = {
    lr: 0.01,
    beta1: Math.fround(0.9),
    beta2: Math.fround(0.98),
    eps: 1e-6,
    weightDecay: 0.01,
    clip: 0.5,
    step: 1,
  };
  const ends = [5, 5, 40000, 50001];
  const trainable = [1, 1, 0, 1];
  const isTrainable = (i: number) => trainable[ends.findIndex((end) => i < end)] === 1;

  async function step(s: { p: number[]; g: number[]; m: number[]; v: number[] }, h: typeof hyper) {
    const n = s.p.length;
    const settings = f32([7], [h.lr, h.beta1, h.beta2, h.eps, h.weightDecay, h.clip, h.step]);
    const inputs = [
      f32([n], s.p),
      f32([n], s.g),
      f32([n], s.m),
      f32([n], s.v),
      i32([4], ends),
      u8([4], trainable),
      settings,
    ];
    const [info, p, g, m, v] = await callOp('adamw', inputs, {}, [{ shape: [2] }], { mutated: [0, 1, 2, 3] });
    return { info: [...info.data], p: [...p.data], g: [...g.data], m: [...m.data], v: [...v.data] };
  }
  function start() {
    const random = randomNumbers(9);
    const draw = () => Array.from({ length: 50001 }, random);
    return { p: draw(), g: draw(), m: Array(50001).fill(0), v: Array(50001).fill(0) };
  }

  test.each([0, 0.5, 1e9])(
    'two steps with clip %d agree with the float64 reference; frozen segments stay',
    async (clip) => {
      const reference = start();
      let state = start();
      for (let k = 1; k <= 2; k++) {
        const o = { ...hyper, clip, step: k };
        const random = randomNumbers(20 + k);
        reference.g = state.g = state.g.map(random);
        reference.g = [...reference.g];
        const norm = adamwStep(reference, isTrainable, o);
        const { info, ...next } = await step(state, o);
        expect(Math.abs(info[0] / norm - 1)).toBeLessThan(1e-6);
        expect(info[1]).toBe(0);
        expect(next.g.every((g) => g === 0)).toBe(true);
        expect(worst(next.p, reference.p)).toBeLessThan(1e-6);
        expect(worst(next.m, reference.m)).toBeLessThan(1e-6);
        expect(worst(next.v, reference.v)).toBeLessThan(1e-6);
        expect(next.p.slice(5, 40000)).toEqual(state.p.slice(5, 40000));
        state = next;
      }
    },
  );

  test.each([Number.NaN, Number.POSITIVE_INFINITY])(
    'a gradient of %d skips the step and zeroes the gradients',
    async (value) => {
      const state = start();
      state.g[45000] = value;
      const next = await step(state, hyper);
      expect(next.info[1]).toBe(1);
      expect(next.p).toEqual(state.p);
      expect(next.m).toEqual(state.m);
      expect(next.g.every((g) => g === 0)).toBe(true);
    },
  );

  test('a gradient that is not finite in a frozen segment does no harm', async () => {
    const state = start();
    state.g[100] = Number.NaN;
    const next = await step(state, hyper);
    expect(next.info[1]).toBe(0);
    expect(next.g[100]).toBe(0);
  });

  test('segments that do not end at the last value are refused', async () => {
    const inputs = [f32([4], [1, 2, 3, 4]), f32([4], [1, 1, 1, 1]), f32([4], [0, 0, 0, 0]), f32([4], [0, 0, 0, 0])];
    const rest = [i32([1], [9]), u8([1], [1]), f32([7], [0.1, 0.9, 0.98, 1e-6, 0, 0, 1])];
    await expect(callOp('adamw', [...inputs, ...rest], {}, [{ shape: [2] }])).rejects.toMatchObject({
      message: expect.stringMatching(/last segment ends at 9/),
    });
  });
});

describe('k-means assignment', () => {
  test.each([
    [1, 1, 1],
    [17, 3, 5],
    [300, 33, 39],
    [1000, 100, 16],
    [61, 513, 20],
  ])('%d rows, %d centroids of dimension %d: labels and distances of the reference', async (N, K, D) => {
    const random = randomNumbers(N + K);
    const x = Float32Array.from({ length: N * D }, random);
    const c = Float32Array.from({ length: K * D }, random);
    const [labels, distances] = await callOp('kmeans_assign', [f32([N, D], x), f32([K, D], c)], {}, [
      { shape: [N], dtype: 'i32' },
      { shape: [N] },
    ]);
    const expected = nearest(x, c, D);
    expect([...labels.data]).toEqual(expected.labels);
    expect(worst(distances.data, expected.distances)).toBeLessThan(1e-5);
  });

  test('the lowest index wins ties, in any lane', async () => {
    const c = Array.from({ length: 70 }, (_, k) => (k < 5 ? 100 + k : k % 2 ? 1 : -1));
    const [labels] = await callOp('kmeans_assign', [f32([3, 1], [0, 1, -1]), f32([70, 1], c)], {}, [
      { shape: [3], dtype: 'i32' },
      { shape: [3] },
    ]);
    expect([...labels.data]).toEqual([5, 5, 6]);
  });

  test('rows near their centroid, far from the origin, keep an exact distance', async () => {
    const [, distances] = await callOp(
      'kmeans_assign',
      [f32([1, 2], [10000.5, 10000]), f32([2, 2], [10000, 10000, 0, 0])],
      {},
      [{ shape: [1], dtype: 'i32' }, { shape: [1] }],
    );
    expect(distances.data[0]).toBe(0.25);
  });
});

describe('k-means update', () => {
  const moved = async (x: number[], labels: number[], centroids: number[], weights: number[]) => {
    const [rows, clusters] = [labels.length, weights.length];
    const d = centroids.length / clusters;
    const inputs = [f32([rows, d], x), i32([rows], labels), f32([clusters, d], centroids), i32([clusters], weights)];
    return callOp('kmeans_update', inputs, {}, [{ shape: [clusters, d] }, { shape: [clusters], dtype: 'i32' }]);
  };

  test.each([
    [1, 1, 1],
    [300, 33, 39],
    [2000, 7, 600],
  ])('%d rows, %d centroids of dimension %d: the means of the reference', async (N, K, D) => {
    const random = randomNumbers(N + K);
    const [x, c] = [N * D, K * D].map((length) => Array.from(Float32Array.from({ length }, random)));
    const labels = Array.from({ length: N }, (_, n) => (n % (K + 2)) - 1);
    const weights = Array.from({ length: K }, (_, k) => k % 3);
    const [centroids, absorbed] = await moved(x, labels, c, weights);
    expect(worst(centroids.data, kmeansUpdate(x, labels, c, weights))).toBeLessThan(1e-6);
    const rows = (k: number) => labels.filter((label) => label === k).length;
    expect([...absorbed.data]).toEqual(weights.map((weight, k) => weight + rows(k)));
  });

  test('a centroid without rows and weight stays; one with weight is their common mean', async () => {
    const [centroids, absorbed] = await moved([4, 8, 6], [0, 7, 0], [1, 2, 9], [2, 0, 0]);
    expect([...centroids.data]).toEqual([(2 * 1 + 4 + 6) / 4, 2, 9]);
    expect([...absorbed.data]).toEqual([4, 0, 0]);
  });

  test('weights stop at the largest number that they can be', async () => {
    const [centroids, absorbed] = await moved([5, 5], [0, 0], [5], [2 ** 31 - 2]);
    expect([...absorbed.data]).toEqual([2 ** 31 - 1]);
    expect(centroids.data[0]).toBeCloseTo(5, 5);
  });
});
