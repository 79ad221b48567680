import { callOp } from '../../lib/nn/call';
import * as reference from '../reference/conv';
import { expectClose, numbers } from './close';

const inner = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((s, x, i) => s + x * b[i], 0);

/** Expects `gradient` to hold the central differences of f at a sample of x's entries. */
function expectSlopes(gradient: ArrayLike<number>, f: (x: Float64Array) => number, x: ArrayLike<number>) {
  const step = 1e-5;
  for (let at = 0; at < x.length; at += 1 + Math.floor(x.length / 12)) {
    const moved = (by: number) => f(Float64Array.from(x, (v, i) => (i === at ? v + by : v)));
    expect(gradient[at]).toBeCloseTo((moved(step) - moved(-step)) / (2 * step), 7);
  }
}

const accumulates = (shape: number[]) => ({ shape, accumulates: true });

describe('the references', () => {
  test('GELU has its tabulated values and its derivative is its slope', () => {
    expect(reference.gelu(1)).toBeCloseTo(0.8413447460685429, 14);
    expect(reference.gelu(-3)).toBeCloseTo(-0.00404969409489031, 14);
    for (const x of [-4, -0.7, 0, 1.3, 3.6])
      expect(reference.geluDerivative(x)).toBeCloseTo((reference.gelu(x + 1e-5) - reference.gelu(x - 1e-5)) / 2e-5, 8);
  });

  test('gradients of a grouped, padded, strided convolution are its slopes', () => {
    const c = { batch: 2, time: 9, inputs: 4, outputs: 6, kernel: 3, stride: 2, groups: 2, padding: 1, frames: 5 };
    const [x, w, bias, dz] = [
      numbers([2 * 9 * 4]),
      numbers([6 * 2 * 3], 2),
      numbers([6], 3),
      numbers([2 * 5 * 6], 4),
    ].map((a) => a.data);
    const { dx, dw, dbias } = reference.convGrad(x, w, dz, c);
    expectSlopes(dx, (v) => inner(reference.conv(v, w, bias, c), dz), x);
    expectSlopes(dw, (v) => inner(reference.conv(x, v, bias, c), dz), w);
    expectSlopes(dbias, (v) => inner(reference.conv(x, w, v, c), dz), bias);
  });

  test('gradients of convolution, group norm and GELU are their slopes', () => {
    const c = { batch: 2, time: 60, inputs: 1, outputs: 3, kernel: 5, stride: 3 };
    const frames = reference.convFrames(c);
    const [x, w, gamma, beta, dy] = [
      numbers([120]),
      numbers([15], 2),
      numbers([3], 3),
      numbers([3], 4),
      numbers([2 * frames * 3], 5),
    ].map((a) => a.data);
    const value = (a: ArrayLike<number>, b: ArrayLike<number>, d: ArrayLike<number>) =>
      inner(reference.convNormGelu(x, a, b, d, c, 1e-5), dy);
    const { dw, dgamma, dbeta } = reference.convNormGeluGrad(x, w, gamma, beta, dy, c, 1e-5);
    expectSlopes(dw, (v) => value(v, gamma, beta), w);
    expectSlopes(dgamma, (v) => value(w, v, beta), gamma);
    expectSlopes(dbeta, (v) => value(w, gamma, v), beta);
  });

  test('gradients of weight normalisation are its slopes', () => {
    const [v, g, dw] = [numbers([4 * 3 * 5]), numbers([5], 2), numbers([60], 3)].map((a) => a.data);
    const { dv, dg } = reference.weightNormGrad(v, g, dw);
    expectSlopes(dv, (a) => inner(reference.weightNorm(a, g), dw), v);
    expectSlopes(dg, (a) => inner(reference.weightNorm(v, a), dw), g);
  });
});

describe('gelu', () => {
  test('agrees with the error function over the whole range, tails included', async () => {
    const x = Float32Array.from({ length: 5003 }, (_, i) => (i - 2501) / 250);
    const shape = [x.length];
    const [y] = await callOp('gelu', [{ shape, data: x }], {}, [{ shape }]);
    for (let i = 0; i < x.length; i++) expect(Math.abs(y.data[i] - reference.gelu(x[i]))).toBeLessThan(1.5e-6);
    const dy = numbers(shape);
    const [dz] = await callOp('gelu_grad', [{ shape, data: x }, dy], {}, [{ shape }]);
    for (let i = 0; i < x.length; i++)
      expect(Math.abs(dz.data[i] - dy.data[i] * reference.geluDerivative(x[i]))).toBeLessThan(8e-7);
  });

  test('keeps NaN and infinity', async () => {
    const shape = [3];
    const x = { shape, data: Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, -1e30) };
    const [y] = await callOp('gelu', [x], {}, [{ shape }]);
    expect(y.data[0]).toBeNaN();
    expect(y.data[1]).toBe(Number.POSITIVE_INFINITY);
    expect(y.data[2]).toBeCloseTo(0, 5);
    const [dz] = await callOp('gelu_grad', [x, { shape, data: Float32Array.of(1, 1, 1) }], {}, [{ shape }]);
    expect(dz.data[0]).toBeNaN();
    expect(dz.data[1]).toBeCloseTo(1, 6);
    expect(dz.data[2]).toBeCloseTo(0, 6);
  });
});

describe('conv0_norm_gelu', () => {
  // [batch, samples, channels, kernel, stride]: the recipe's kernel with whole and with odd lanes, and kernels it does not use.
  const cases = [
    [2, 3001, 32, 10, 5],
    [2, 1203, 19, 10, 5],
    [2, 517, 16, 7, 3],
    [1, 400, 5, 20, 4],
  ];
  test.each(cases)(
    'value and gradients: batch %i, %i samples, %i channels, kernel %i, stride %i',
    async (batch, time, channels, kernel, stride) => {
      const c = { batch, time, inputs: 1, outputs: channels, kernel, stride };
      const frames = reference.convFrames(c);
      const wave = numbers([batch, time]);
      wave.data = Float32Array.from(wave.data, (v) => v + 0.25);
      const [w, gamma, beta] = [numbers([channels, 1, kernel], 2), numbers([channels], 3), numbers([channels], 4)];
      const attributes = { stride, eps: 1e-5 };
      const side = [batch, frames, channels];
      const [y, moments] = await callOp('conv0_norm_gelu', [wave, w, gamma, beta], attributes, [
        { shape: side },
        { shape: [batch, kernel + kernel * kernel] },
      ]);
      expectClose(y, reference.convNormGelu(wave.data, w.data, gamma.data, beta.data, c, 1e-5));
      expectClose(moments, reference.windowMoments(wave.data, c), 1e-6);
      const dy = numbers(side, 5);
      const [dw, dgamma, dbeta] = await callOp(
        'conv0_norm_gelu_grad',
        [wave, w, gamma, beta, moments, dy],
        attributes,
        [accumulates([channels, 1, kernel]), accumulates([channels]), accumulates([channels])],
      );
      const expected = reference.convNormGeluGrad(wave.data, w.data, gamma.data, beta.data, dy.data, c, 1e-5);
      expectClose(dw, expected.dw);
      expectClose(dgamma, expected.dgamma);
      expectClose(dbeta, expected.dbeta);
    },
  );

  test('a large constant in the waveform does not disturb the result', async () => {
    const c = { batch: 1, time: 2000, inputs: 1, outputs: 16, kernel: 10, stride: 5 };
    const wave = numbers([1, 2000]);
    wave.data = Float32Array.from(wave.data, (v) => 100 + Math.round(v * 64) / 64);
    const [w, gamma, beta] = [numbers([16, 1, 10], 2), numbers([16], 3), numbers([16], 4)];
    const [y] = await callOp('conv0_norm_gelu', [wave, w, gamma, beta], { stride: 5, eps: 1e-5 }, [
      { shape: [1, 399, 16] },
      { shape: [1, 110] },
    ]);
    expectClose(y, reference.convNormGelu(wave.data, w.data, gamma.data, beta.data, c, 1e-5));
  });

  test('refuses a row shorter than the kernel and wrong sides', async () => {
    const run = (samples: number, frames: number, stride: number) =>
      callOp('conv0_norm_gelu', [numbers([1, samples]), numbers([4, 1, 10]), numbers([4]), numbers([4])], { stride }, [
        { shape: [1, frames, 4] },
        { shape: [1, 110] },
      ]);
    await expect(run(9, 1, 5)).rejects.toThrow('shorter than the kernel');
    await expect(run(100, 20, 5)).rejects.toThrow('y must be f32[1, 19, 4]');
    await expect(run(100, 19, 0)).rejects.toThrow('stride');
    await expect(run(100, 19, 2.5)).rejects.toThrow('stride');
  });
});

describe('conv1d', () => {
  // [batch, frames, inputs, outputs, kernel, stride]: taps in one group, in two, in many, with gaps, one frame out, one input channel.
  const cases = [
    [2, 41, 7, 5, 3, 2],
    [2, 40, 16, 32, 2, 2],
    [2, 40, 16, 16, 3, 2],
    [1, 33, 3, 4, 5, 1],
    [2, 50, 4, 6, 2, 3],
    [1, 30, 8, 8, 7, 2],
    [2, 3, 4, 4, 3, 2],
    [2, 1203, 1, 19, 10, 5],
    [2, 105, 1, 16, 7, 3],
    [2, 60, 1, 5, 2, 5],
  ];
  test.each(cases)(
    'value and gradients: batch %i, %i frames, %i -> %i channels, kernel %i, stride %i',
    async (batch, time, inputs, outputs, kernel, stride) => {
      const c = { batch, time, inputs, outputs, kernel, stride };
      const side = [batch, reference.convFrames(c), outputs];
      const [x, w, bias, dz] = [
        numbers([batch, time, inputs]),
        numbers([outputs, inputs, kernel], 2),
        numbers([outputs], 3),
        numbers(side, 4),
      ];
      const expected = reference.conv(x.data, w.data, bias.data, c);
      const [y, z] = await callOp('conv1d', [x, w, bias], { stride, gelu: 1 }, [{ shape: side }, { shape: side }]);
      expectClose(z, expected);
      expectClose(y, reference.map(expected, reference.gelu));
      const [plain] = await callOp('conv1d', [x, w, null], { stride, gelu: 0 }, [{ shape: side }, null]);
      expectClose(plain, reference.conv(x.data, w.data, null, c));
      const gradient = reference.convGrad(x.data, w.data, dz.data, c);
      const [dx, dw, dbias] = await callOp('conv1d_grad', [x, w, dz], { stride }, [
        { shape: x.shape },
        accumulates(w.shape),
        accumulates([outputs]),
      ]);
      expectClose(dx, gradient.dx);
      expectClose(dw, gradient.dw);
      expectClose(dbias, gradient.dbias);
      const [, alone] = await callOp('conv1d_grad', [x, w, dz], { stride }, [null, accumulates(w.shape), null]);
      expectClose(alone, gradient.dw);
    },
  );

  test('refuses a kernel longer than the input and unequal channels', async () => {
    const run = (time: number, channels: number) =>
      callOp('conv1d', [numbers([1, time, 4]), numbers([2, channels, 3]), null], { stride: 1 }, [
        { shape: [1, 1, 2] },
        null,
      ]);
    await expect(run(2, 4)).rejects.toThrow('fewer than the kernel');
    await expect(run(3, 5)).rejects.toThrow('f32[Cout, 4, k]');
  });
});

test.each([
  [48, 12, 16],
  [37, 5, 7],
])('weight_norm: value and gradients for [%i, %i, %i]', async (outputs, inputs, taps) => {
  const shape = [outputs, inputs, taps];
  const [v, g, dw] = [numbers(shape), numbers([1, 1, taps], 2), numbers(shape, 3)];
  const [w] = await callOp('weight_norm', [v, g], {}, [{ shape }]);
  expectClose(w, reference.weightNorm(v.data, g.data));
  const [dv, dg] = await callOp('weight_norm_grad', [v, g, dw], {}, [accumulates(shape), accumulates(g.shape)]);
  const expected = reference.weightNormGrad(v.data, g.data, dw.data);
  expectClose(dv, expected.dv);
  expectClose(dg, expected.dg);
});

describe('pos_conv', () => {
  // [batch, frames, channels, groups, kernel]: even and odd kernels, groups of 12, 9, 8, 7, 24 and 1 channels, a kernel longer than the input;
  // kernels and inputs that are long enough for products of parts, whole and not, in one block and in two.
  const cases = [
    [2, 37, 48, 4, 16],
    [2, 37, 36, 4, 15],
    [1, 5, 8, 1, 128],
    [2, 199, 32, 4, 32],
    [2, 200, 14, 2, 7],
    [1, 401, 24, 1, 9],
    [2, 3, 5, 5, 1],
    [2, 64, 24, 2, 64],
    [2, 131, 26, 2, 67],
    [1, 401, 9, 1, 399],
  ];
  test.each(cases)(
    'value and gradients: batch %i, %i frames, %i channels in %i groups, kernel %i',
    async (batch, time, channels, groups, kernel) => {
      const c = reference.positional(batch, time, channels, groups, kernel);
      const shape = [batch, time, channels];
      const [x, w, bias, dz] = [
        numbers(shape),
        numbers([channels, channels / groups, kernel], 2),
        numbers([channels], 3),
        numbers(shape, 4),
      ];
      const expected = reference.conv(x.data, w.data, bias.data, c);
      const [y, z] = await callOp('pos_conv', [x, w, bias], { groups, gelu: 1 }, [{ shape }, { shape }]);
      expectClose(z, expected);
      expectClose(y, reference.map(expected, reference.gelu));
      const gradient = reference.convGrad(x.data, w.data, dz.data, c);
      const [dx, dw, dbias] = await callOp('pos_conv_grad', [x, w, dz], { groups }, [
        { shape },
        accumulates(w.shape),
        accumulates([channels]),
      ]);
      expectClose(dx, gradient.dx);
      expectClose(dw, gradient.dw);
      expectClose(dbias, gradient.dbias);
    },
  );

  test('an even kernel looks one frame further back than ahead', async () => {
    const x = { shape: [1, 6, 1], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
    const w = { shape: [1, 1, 4], data: Float32Array.of(1000, 100, 10, 1) };
    const bias = { shape: [1], data: Float32Array.of(0) };
    const [y] = await callOp('pos_conv', [x, w, bias], { groups: 1, gelu: 0 }, [{ shape: [1, 6, 1] }, null]);
    expect([...y.data]).toEqual([12, 123, 1234, 2345, 3456, 4560]);
  });

  test('refuses groups that do not divide the channels', async () => {
    const run = callOp('pos_conv', [numbers([1, 9, 10]), numbers([10, 3, 4]), numbers([10])], { groups: 3 }, [
      { shape: [1, 9, 10] },
      null,
    ]);
    await expect(run).rejects.toThrow('do not divide');
  });
});
