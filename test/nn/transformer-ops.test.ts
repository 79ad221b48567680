import { native } from '../../lib/binding';
import { callOp, type NdArray } from '../../lib/nn/call';
import { dropoutFactors, philox } from '../reference/philox';
import * as reference from '../reference/transformer';
import { expectClose, numbers } from './close';

const seed = 0x0123456789abcdefn;
const draw = 0x1_0000_0007n;
const stream = 41;
const random = { seed, draw };

const integers = (...data: number[]): NdArray => ({ shape: [data.length], data: Int32Array.from(data) });
const bytes = (shape: number[], ...data: number[]): NdArray => ({ shape, data: Uint8Array.from(data) });

const times = (a: ArrayLike<number>, b: ArrayLike<number>) => Float64Array.from(a, (x, i) => x * b[i]);

/** Central difference of a scalar function at one entry of x. */
function slope(f: (x: Float64Array) => number, x: ArrayLike<number>, at: number): number {
  const step = 1e-5;
  const moved = (by: number) => f(Float64Array.from(x, (v, i) => (i === at ? v + by : v)));
  return (moved(step) - moved(-step)) / (2 * step);
}
const inner = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((s, x, i) => s + x * b[i], 0);

describe('the references', () => {
  test('Philox gives the published words', () => {
    const hex = (words: number[]) => words.map((w) => w.toString(16));
    expect(hex(philox(0n, 0n, 0, 0))).toEqual(['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']);
    const ones = 0xffffffffffffffffn;
    expect(hex(philox(ones, ones, 0xffffffff, 0xffffffff))).toEqual(['408f276d', '41c83b0e', 'a20bc7c6', '6d5451fd']);
  });

  test('erf gives the tabulated values', () => {
    expect(reference.erf(0.5)).toBeCloseTo(0.5204998778130465, 14);
    expect(reference.erf(-2)).toBeCloseTo(-0.9953222650189527, 14);
    expect(1 - reference.erf(3.5)).toBeCloseTo(7.430983723414128e-7, 14);
  });

  test('attention gradients are the slopes of attention', () => {
    const shape = { batch: 2, frames: 5, heads: 2, depth: 3 };
    const qkv = numbers([2, 5, 18]).data;
    const dO = numbers([2, 5, 6], 2).data;
    const factors = dropoutFactors(2 * 2 * 25, 0.3, seed, draw, stream);
    const gradient = reference.attentionGrad(qkv, [5, 3], shape, factors, dO);
    for (let e = 0; e < qkv.length; e += 7) {
      const f = (x: Float64Array) => inner(reference.attention(x, [5, 3], shape, factors).o, dO);
      expect(gradient[e]).toBeCloseTo(slope(f, qkv, e), 8);
    }
  });

  test('layer norm gradients are the slopes of layer norm', () => {
    const [x, gamma, dy] = [numbers([3, 7]).data, numbers([7], 2).data, numbers([3, 7], 3).data];
    const gradient = reference.layerNormGrad(x, gamma, 1e-5, dy);
    const value = (a: ArrayLike<number>, g: ArrayLike<number>) =>
      inner(reference.layerNorm(a, g, new Float64Array(7), 1e-5).y, dy);
    for (let e = 0; e < 21; e++)
      expect(gradient.dx[e]).toBeCloseTo(
        slope((v) => value(v, gamma), x, e),
        7,
      );
    for (let e = 0; e < 7; e++)
      expect(gradient.dgamma[e]).toBeCloseTo(
        slope((v) => value(x, v), gamma, e),
        7,
      );
  });
});

describe('linear', () => {
  test.each([
    [[1], 1, 1],
    [[3, 5], 7, 13],
    [[2, 37], 48, 96],
    [[67], 33, 130],
  ])('leading shape %j, %i to %i channels: value and gradient', async (leading, inputs, outputs) => {
    const rows = leading.reduce((a, b) => a * b, 1);
    const [x, w, bias] = [numbers([...leading, inputs]), numbers([outputs, inputs], 2), numbers([outputs], 3)];
    const shape = [...leading, outputs];
    const z = reference.linear(x.data, w.data, bias.data, rows, inputs, outputs);
    const [plain] = await callOp('linear', [x, w, bias], { gelu: 0 }, [{ shape }, null]);
    expectClose(plain, z);
    const [unbiased] = await callOp('linear', [x, w, null], { gelu: 0 }, [{ shape }, null]);
    expectClose(unbiased, reference.linear(x.data, w.data, null, rows, inputs, outputs));
    const [active, before] = await callOp('linear', [x, w, bias], { gelu: 1 }, [{ shape }, { shape }]);
    expectClose(before, z);
    expectClose(active, Float64Array.from(z, reference.gelu));
    const [inPlace] = await callOp('linear', [x, w, bias], { gelu: 1 }, [{ shape }, null]);
    expect(inPlace.data).toEqual(active.data);

    const dz = numbers(shape, 4);
    const expected = reference.linearGrad(x.data, w.data, dz.data, rows, inputs, outputs);
    const sums = [
      { shape: w.shape, accumulates: true },
      { shape: [outputs], accumulates: true },
    ];
    const [dx, dw, dbias] = await callOp('linear_grad', [x, w, dz], {}, [{ shape: x.shape }, ...sums]);
    expectClose(dx, expected.dx);
    expectClose(dw, expected.dw);
    expectClose(dbias, expected.dbias);
    const [, onlyDw] = await callOp('linear_grad', [x, w, dz], {}, [null, sums[0], null]);
    expect(onlyDw.data).toEqual(dw.data);
  });

  test('refuses shapes that do not fit, before it runs', async () => {
    const bad = callOp('linear', [numbers([2, 3]), numbers([4, 5]), null], { gelu: 0 }, [{ shape: [2, 4] }, null]);
    await expect(bad).rejects.toMatchObject({
      code: 'HK_SHAPE',
      message: expect.stringMatching(/linear: w .*\[4, 3\].*\[4, 5\]/),
    });
    const z = callOp('linear', [numbers([2, 3]), numbers([4, 3]), null], { gelu: 0 }, [
      { shape: [2, 4] },
      { shape: [2, 4] },
    ]);
    await expect(z).rejects.toMatchObject({ code: expect.stringMatching(/^HK_(SHAPE|ARGUMENT)$/) });
    const gelu = callOp('linear', [numbers([2, 3]), numbers([4, 3]), null], { gelu: Number.NaN }, [
      { shape: [2, 4] },
      null,
    ]);
    await expect(gelu).rejects.toMatchObject({ code: expect.stringMatching(/^HK_(SHAPE|ARGUMENT)$/) });
  });
});

describe('layer norm', () => {
  test.each([
    [[1, 5], 1e-5],
    [[3, 7], 1e-5],
    [[2, 37, 48], 1e-5],
    [[5, 129], 1e-3],
    [[2000, 3], 1e-5],
  ])('shape %j, eps %d: value and gradient', async (shape, eps) => {
    const width = shape.at(-1)!;
    const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
    const [x, gamma, beta, dy] = [numbers(shape), numbers([width], 2), numbers([width], 3), numbers(shape, 4)];
    const expected = reference.layerNorm(x.data, gamma.data, beta.data, eps);
    const [y, stats] = await callOp('layer_norm', [x, gamma, beta], { eps }, [{ shape }, { shape: [rows, 2] }]);
    expectClose(y, expected.y, 1e-5);
    expectClose(stats, expected.stats, 1e-5);
    const gradient = reference.layerNormGrad(x.data, gamma.data, eps, dy.data);
    const [dx, dgamma, dbeta] = await callOp('layer_norm_grad', [x, gamma, stats, dy], {}, [
      { shape },
      { shape: [width], accumulates: true },
      { shape: [width], accumulates: true },
    ]);
    expectClose(dx, gradient.dx, 2e-5);
    expectClose(dgamma, gradient.dgamma, 1e-5);
    expectClose(dbeta, gradient.dbeta, 1e-5);
  });

  test('a large mean does not cost the variance its digits', async () => {
    const x = { shape: [1, 4], data: Float32Array.of(10000, 10001, 10002, 10003) };
    const [unit, zero] = [numbers([4]), numbers([4])];
    unit.data.fill(1);
    zero.data.fill(0);
    const [y] = await callOp('layer_norm', [x, unit, zero], { eps: 1e-5 }, [{ shape: [1, 4] }, { shape: [1, 2] }]);
    expectClose(y, [-1.3416354, -0.4472118, 0.4472118, 1.3416354], 1e-5);
  });

  test.each([
    [[3, 7], 0],
    [[3, 7], 0.4],
    [[2, 19, 300], 0.1],
    [[41, 64], 0.1],
  ])('with the residual and dropout, shape %j, p %d: value and gradient', async (shape, dropout) => {
    const width = shape.at(-1)!;
    const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
    const [x, y, gamma, beta] = [numbers(shape), numbers(shape, 5), numbers([width], 2), numbers([width], 3)];
    const attributes = { eps: 1e-5, dropout, stream };
    const factors = dropoutFactors(x.data.length, dropout, seed, draw, stream);
    const sum = Float64Array.from(x.data, (v, i) => v + y.data[i] * factors[i]);
    const expected = reference.layerNorm(sum, gamma.data, beta.data, 1e-5);
    const outputs = [{ shape }, { shape }, { shape: [rows, 2] }];
    const [h, s, stats] = await callOp('add_layer_norm', [x, y, gamma, beta], attributes, outputs, random);
    expectClose(h, expected.y, 1e-5);
    expectClose(s, sum);
    expectClose(stats, expected.stats, 1e-5);

    const [dh, direct] = [numbers(shape, 6), numbers(shape, 7)];
    const gradient = reference.layerNormGrad(sum, gamma.data, 1e-5, dh.data);
    const whole = gradient.dx.map((v, i) => v + direct.data[i]);
    const sums = [
      { shape: [width], accumulates: true },
      { shape: [width], accumulates: true },
    ];
    const [dx, dy, dgamma, dbeta] = await callOp(
      'add_layer_norm_grad',
      [s, gamma, stats, dh, direct],
      attributes,
      [{ shape }, { shape }, ...sums],
      random,
    );
    expectClose(dx, whole, 2e-5);
    expectClose(dy, times(whole, factors), 2e-5);
    expectClose(dgamma, gradient.dgamma, 1e-5);
    expectClose(dbeta, gradient.dbeta, 1e-5);
    const [alone] = await callOp(
      'add_layer_norm_grad',
      [s, gamma, stats, dh, null],
      attributes,
      [{ shape }, null, null, null],
      random,
    );
    expectClose(alone, gradient.dx, 2e-5);
  });
});

describe('dropout', () => {
  test.each([1, 3, 63, 64, 65, 4097, 10001])('keeps the elements that Philox says, %i of them', async (count) => {
    const x = numbers([count]);
    const [y] = await callOp('dropout', [x], { dropout: 0.25, stream }, [{ shape: [count] }], random);
    expectClose(y, times(x.data, dropoutFactors(count, 0.25, seed, draw, stream)), 1e-6);
  });

  test('drops its share, other elements for another draw, seed or stream', async () => {
    const shape = [20000];
    const x = { shape, data: new Float32Array(20000).fill(1) };
    const run = async (s: number, o: { seed: bigint; draw: bigint }) =>
      (await callOp('dropout', [x], { dropout: 0.1, stream: s }, [{ shape }], o))[0].data as Float32Array;
    const first = await run(1, { seed: 1n, draw: 1n });
    expect(Math.abs(first.filter((v) => v === 0).length / 20000 - 0.1)).toBeLessThan(0.01);
    expect(await run(1, { seed: 1n, draw: 1n })).toEqual(first);
    for (const other of [
      run(2, { seed: 1n, draw: 1n }),
      run(1, { seed: 2n, draw: 1n }),
      run(1, { seed: 1n, draw: 2n }),
    ])
      expect(await other).not.toEqual(first);
  });

  test('refuses what is no probability', async () => {
    for (const dropout of [-0.1, 1, Number.NaN, Number.POSITIVE_INFINITY])
      await expect(callOp('dropout', [numbers([3])], { dropout, stream }, [{ shape: [3] }])).rejects.toMatchObject({
        code: expect.stringMatching(/^HK_(SHAPE|ARGUMENT)$/),
      });
  });
});

describe('attention', () => {
  const cases: [batch: number, frames: number, heads: number, depth: number, lengths: number[]][] = [
    [1, 1, 1, 1, [1]],
    [2, 13, 3, 8, [13, 7]],
    [2, 37, 4, 12, [37, 27]],
    [3, 33, 2, 17, [0, 33, 1]],
    [2, 21, 2, 5, [-4, 1000]],
    [1, 199, 1, 64, [199]],
    [1, 110, 2, 80, [97]],
    [1, 521, 1, 6, [500]],
  ];
  describe.each(cases)(
    'batch %i, frames %i, heads %i, head size %i, lengths %j',
    (batch, frames, heads, depth, rawLengths) => {
      test.each([0, 0.2])('dropout %d: value and gradient', async (dropout) => {
        const width = heads * depth;
        const shape = { batch, frames, heads, depth };
        const qkv = numbers([batch, frames, 3 * width]);
        qkv.data = qkv.data.map((v) => 3 * v) as Float32Array;
        const lengths = integers(...rawLengths);
        const factors = dropoutFactors(batch * heads * frames * frames, dropout, seed, draw, stream);
        const attributes = { heads, dropout, stream };
        const expected = reference.attention(qkv.data, rawLengths, shape, factors);
        const outputs = [{ shape: [batch, frames, width] }, { shape: [batch, heads, frames] }];
        const [o, lse] = await callOp('attention', [qkv, lengths], attributes, outputs, random);
        expectClose(o, expected.o, 5e-6);
        expectClose(lse, expected.lse, 5e-6);
        const dO = numbers([batch, frames, width], 9);
        const [dqkv] = await callOp(
          'attention_grad',
          [qkv, lengths, o, lse, dO],
          attributes,
          [{ shape: qkv.shape }],
          random,
        );
        expectClose(dqkv, reference.attentionGrad(qkv.data, rawLengths, shape, factors, dO.data), 1e-5);
      });
    },
  );

  test('what stands in padded keys and values changes nothing, even when it is not a number', async () => {
    const outputs = [{ shape: [1, 20, 8] }, { shape: [1, 2, 20] }];
    const qkv = numbers([1, 20, 24]);
    const other = { ...qkv, data: Float32Array.from(qkv.data) };
    for (let t = 11; t < 20; t++) other.data.fill(Number.NaN, t * 24 + 8, t * 24 + 24);
    const [a] = await callOp('attention', [qkv, integers(11)], { heads: 2 }, outputs);
    const [b] = await callOp('attention', [other, integers(11)], { heads: 2 }, outputs);
    expect(b.data).toEqual(a.data);
  });

  test('large scores neither overflow nor vanish', async () => {
    const qkv = numbers([1, 40, 3 * 16]);
    qkv.data = qkv.data.map((v) => 100 * v) as Float32Array;
    const shape = { batch: 1, frames: 40, heads: 1, depth: 16 };
    const [o] = await callOp('attention', [qkv, integers(40)], { heads: 1 }, [
      { shape: [1, 40, 16] },
      { shape: [1, 1, 40] },
    ]);
    expectClose(o, reference.attention(qkv.data, [40], shape, new Float64Array(1600).fill(1)).o, 1e-3);
  });

  test('refuses heads that do not divide the width', async () => {
    for (const heads of [0, 5, -1, 2.5, Number.NaN, 1e9]) {
      const run = callOp('attention', [numbers([1, 4, 24]), integers(4)], { heads }, [
        { shape: [1, 4, 8] },
        { shape: [1, 2, 4] },
      ]);
      await expect(run).rejects.toMatchObject({ code: expect.stringMatching(/^HK_(SHAPE|ARGUMENT)$/) });
    }
  });
});

describe('masks', () => {
  test('masked frames become the embedding, padded frames zero; gradients follow', async () => {
    const shape = [2, 5, 19];
    const [x, embedding, dy] = [numbers(shape), numbers([19], 2), numbers(shape, 3)];
    const mask = bytes([2, 5], 0, 1, 1, 0, 1, 1, 0, 0, 1, 1);
    const lengths = integers(5, 3);
    const [y] = await callOp('mask_frames', [x, mask, lengths, embedding], {}, [{ shape }]);
    expectClose(y, reference.maskFrames(x.data, mask.data, lengths.data, embedding.data, 5), 1e-7);
    const outputs = [{ shape }, { shape: [19], accumulates: true }];
    const [dx, dembedding] = await callOp('mask_frames_grad', [mask, lengths, dy], {}, outputs);
    const expected = reference.maskFramesGrad(mask.data, lengths.data, dy.data, 19, 5);
    expectClose(dx, expected.dx, 1e-7);
    expectClose(dembedding, expected.dembedding);
  });

  test('lengths out of range count as none and all of the frames', async () => {
    const x = numbers([2, 3, 2]);
    const mask = bytes([2, 3], 0, 0, 0, 0, 0, 0);
    const [y] = await callOp('mask_frames', [x, mask, integers(-7, 2147483647), numbers([2])], {}, [
      { shape: [2, 3, 2] },
    ]);
    expect(Array.from(y.data)).toEqual([0, 0, 0, 0, 0, 0, ...x.data.slice(6)]);
  });

  test('masked channels become zero in every frame of their row', async () => {
    const x = numbers([2, 3, 3]);
    const [y] = await callOp('channel_mask', [x, bytes([2, 3], 0, 1, 0, 1, 1, 0)], {}, [{ shape: [2, 3, 3] }]);
    const keep = [1, 0, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1, 0, 0, 1];
    expectClose(y, times(x.data, keep), 1e-7);
  });
});

describe('rows by their index', () => {
  test('gathered they come in the order of the index, scattered they go back; what is no row is zero and goes nowhere', async () => {
    const x = numbers([2, 3, 5]);
    const index = integers(4, 6, 0, -1, 2147483647, 5);
    const rows = [4, 0, 5].map((r) => [...x.data.slice(5 * r, 5 * r + 5)]);
    const none = [0, 0, 0, 0, 0];
    const [y] = await callOp('gather_rows', [x, index], {}, [{ shape: [1, 6, 5] }]);
    expect([...y.data]).toEqual([rows[0], none, rows[1], none, none, rows[2]].flat());
    const [back] = await callOp('scatter_rows', [y, index], {}, [{ shape: [2, 3, 5] }]);
    expect([...back.data]).toEqual([rows[1], none, none, none, rows[0], rows[2]].flat());
  });
});

describe('element-wise ops', () => {
  const shape = [3, 5, 1111];
  const [a, b] = [numbers(shape), numbers(shape, 2)];

  test('add and scale', async () => {
    const [sum] = await callOp('add', [a, b], {}, [{ shape }]);
    expectClose(
      sum,
      Float64Array.from(a.data, (v, i) => v + b.data[i]),
      1e-7,
    );
    const [scaled] = await callOp('scale', [a], { factor: -2.5 }, [{ shape }]);
    expectClose(
      scaled,
      Float64Array.from(a.data, (v) => -2.5 * v),
      1e-7,
    );
  });

  test('select follows its gate', async () => {
    for (const open of [true, false]) {
      const [y] = await callOp('select', [a, b], { gate: 1 }, [{ shape }], { gates: { first: !open, second: open } });
      expect(y.data).toEqual(open ? a.data : b.data);
    }
    const missing = callOp('select', [a, b], { gate: 2 }, [{ shape }], { gates: { first: true, second: true } });
    await expect(missing).rejects.toMatchObject({ code: expect.stringMatching(/^HK_(SHAPE|ARGUMENT)$/) });
  });

  test('argmax takes the lowest index of the largest value', async () => {
    const x = { shape: [3, 5], data: Float32Array.of(1, 3, 3, 2, 0, -5, -5, -7, -9, -5, -1, 0, 1, 2, 3) };
    const [y] = await callOp('argmax', [x], {}, [{ shape: [3], dtype: 'i32' }]);
    expect(Array.from(y.data)).toEqual([1, 0, 4]);
  });

  test('mean square and its gradient', async () => {
    const [y] = await callOp('mean_square', [a], {}, [{ shape: [1] }]);
    expectClose(y, [inner(a.data, a.data) / a.data.length], 1e-6);
    const dy = { shape: [1], data: Float32Array.of(3) };
    const [dx] = await callOp('mean_square_grad', [a, dy], {}, [{ shape }]);
    expectClose(
      dx,
      Float64Array.from(a.data, (v) => (6 * v) / a.data.length),
      1e-6,
    );
  });
});

describe('the number of threads', () => {
  afterAll(() => native().setThreads(2));

  test('changes no bit of attention, norms and masks', async () => {
    const shape = [3, 150, 96];
    const [qkv, x, y, d, gamma, beta] = [
      numbers([3, 150, 288]),
      numbers(shape, 2),
      numbers(shape, 3),
      numbers(shape, 4),
      numbers([96], 5),
      numbers([96], 6),
    ];
    const sums = { shape: [96], accumulates: true };
    const lengths = integers(150, 77, 3);
    const mask = { shape: [3, 150], data: Uint8Array.from({ length: 450 }, (_, i) => i % 3) };
    async function everything(threads: number) {
      await native().setThreads(threads);
      const p = { heads: 2, dropout: 0.1, stream, eps: 1e-5 };
      const [o, lse] = await callOp('attention', [qkv, lengths], p, [{ shape }, { shape: [3, 2, 150] }], random);
      const dqkv = await callOp('attention_grad', [qkv, lengths, o, lse, d], p, [{ shape: qkv.shape }], random);
      const [h, s, stats] = await callOp(
        'add_layer_norm',
        [x, y, gamma, beta],
        p,
        [{ shape }, { shape }, { shape: [450, 2] }],
        random,
      );
      const norm = await callOp(
        'add_layer_norm_grad',
        [s, gamma, stats, d, null],
        p,
        [{ shape }, { shape }, sums, sums],
        random,
      );
      const masked = await callOp('mask_frames_grad', [mask, lengths, d], {}, [{ shape }, sums]);
      const [square] = await callOp('mean_square', [x], {}, [{ shape: [1] }]);
      return [o, lse, ...dqkv, h, s, stats, ...norm, ...masked, square].map((t) => t.data);
    }
    const one = await everything(1);
    for (const threads of [2, 3]) expect(await everything(threads)).toEqual(one);
  });
});
