// The large matrix products behind linear and conv1d, which are our own on AVX-512: sizes that end inside a tile (14 x 32), inside a
// block of k (at most 768) and with several blocks of rows. Samples against sums in float64, and the same bits with any number of threads.
import { native, wrappedAsync } from '../../lib/binding';
import { callOp, compileOp, type NdArray } from '../../lib/nn/call';
import { numbers } from './close';

const setThreads = (threads: number) => wrappedAsync((n) => n.setThreads(threads));
afterAll(() => setThreads(2));

const bits = (x: NdArray) => Buffer.from(x.data.buffer, x.data.byteOffset, x.data.byteLength);

/** What `run` gives with one thread, after two and three gave the same. */
async function withAnyThreads(run: () => Promise<NdArray[]>): Promise<NdArray[]> {
  await setThreads(1);
  const alone = await run();
  for (const threads of [2, 3]) {
    await setThreads(threads);
    const shared = await run();
    if (native().backendInfo().variant.startsWith('avx512'))
      expect(shared.map((x, i) => bits(x).equals(bits(alone[i])))).toEqual(alone.map(() => true));
  }
  return alone;
}

/** Compares some two thousand entries, the last one among them, with value(row, column) to 3e-6 of the greatest. */
function expectSamples(x: NdArray, value: (row: number, column: number) => number): void {
  const columns = x.shape[x.shape.length - 1];
  let [difference, size] = [0, 0];
  for (let e = x.data.length - 1; e >= 0; e -= 1 + Math.floor(x.data.length / 2011)) {
    const expected = value(Math.floor(e / columns), e % columns);
    difference = Math.max(difference, Math.abs(x.data[e] - expected));
    size = Math.max(size, Math.abs(expected));
  }
  expect(difference).toBeLessThan(3e-6 * size);
}

function sum(n: number, term: (i: number) => number): number {
  let total = 0;
  for (let i = 0; i < n; i++) total += term(i);
  return total;
}

test.each([
  [512, 512, 512],
  [523, 545, 527],
  [1101, 801, 525],
])('linear: %i rows, %i to %i channels', async (rows, inputs, outputs) => {
  const [x, w, bias] = [numbers([rows, inputs]), numbers([outputs, inputs], 2), numbers([outputs], 3)];
  const shape = [rows, outputs];
  const dz = numbers(shape, 4);
  const [y, z, dx, dw] = await withAnyThreads(async () => [
    ...(await callOp('linear', [x, w, bias], { gelu: 1 }, [{ shape }, { shape }])),
    ...(await callOp('linear_grad', [x, w, dz], {}, [{ shape: x.shape }, { shape: w.shape, accumulates: true }, null])),
  ]);
  expectSamples(z, (r, o) => bias.data[o] + sum(inputs, (i) => x.data[r * inputs + i] * w.data[o * inputs + i]));
  const [separate] = await callOp('gelu', [z], {}, [{ shape }]);
  expect(bits(y).equals(bits(separate))).toBe(true);
  expectSamples(dx, (r, i) => sum(outputs, (o) => dz.data[r * outputs + o] * w.data[o * inputs + i]));
  expectSamples(dw, (o, i) => sum(rows, (r) => dz.data[r * outputs + o] * x.data[r * inputs + i]));
});

// The first is one product over overlapping rows; the others, of channels in whole tiles, take the fast form of kernel 3 and stride 2:
// frames that make one and two less than whole threes, a frame of x behind the last window, several pieces of the weight's gradient.
test.each([
  [1, 1003, 261, 523],
  [2, 485, 160, 192],
  [1, 1490, 192, 160],
  [2, 4655, 128, 128],
])('conv1d: %i rows of %i frames, %i to %i channels', async (batch, time, inputs, outputs) => {
  const [kernel, stride] = [3, 2];
  const frames = Math.floor((time - kernel) / stride) + 1;
  const [x, w, bias] = [numbers([batch, time, inputs]), numbers([outputs, inputs, kernel], 2), numbers([outputs], 3)];
  const shape = [batch, frames, outputs];
  const dz = numbers(shape, 4);
  const [y, z, dx, dw] = await withAnyThreads(async () => [
    ...(await callOp('conv1d', [x, w, bias], { stride, gelu: 1 }, [{ shape }, { shape }])),
    ...(await callOp('conv1d_grad', [x, w, dz], { stride }, [
      { shape: x.shape },
      { shape: w.shape, accumulates: true },
      null,
    ])),
  ]);
  const weight = (o: number, i: number, tap: number) => w.data[(o * inputs + i) * kernel + tap];
  expectSamples(z, (row, o) => {
    const first = Math.floor(row / frames) * time + (row % frames) * stride;
    const tap = (j: number) => sum(inputs, (i) => x.data[(first + j) * inputs + i] * weight(o, i, j));
    return bias.data[o] + sum(kernel, tap);
  });
  const [separate] = await callOp('gelu', [z], {}, [{ shape }]);
  expect(bits(y).equals(bits(separate))).toBe(true);
  expectSamples(dx, (row, i) =>
    sum(kernel, (j) => {
      const t = ((row % time) - j) / stride;
      if (t < 0 || t >= frames || !Number.isInteger(t)) return 0;
      const at = (Math.floor(row / time) * frames + t) * outputs;
      return sum(outputs, (o) => dz.data[at + o] * weight(o, i, j));
    }),
  );
  expectSamples({ shape: [outputs * inputs, kernel], data: dw.data }, (row, j) => {
    const [o, i] = [Math.floor(row / inputs), row % inputs];
    return sum(batch * frames, (row) => {
      const at = Math.floor(row / frames) * time + (row % frames) * stride + j;
      return dz.data[row * outputs + o] * x.data[at * inputs + i];
    });
  });
});

// What a thread packs lies in scratch that was planned when the program was compiled.
test.each([
  [
    'linear_grad',
    [
      [523, 545],
      [527, 545],
      [523, 527],
    ],
    {},
  ],
  [
    'conv1d_grad',
    [
      [2, 1201, 128],
      [128, 128, 3],
      [2, 600, 128],
    ],
    { stride: 2 },
  ],
])('%s, compiled for one thread, gives the same bits with eight', async (kind, shapes, attributes) => {
  const inputs = shapes.map((shape, i) => numbers(shape, i + 1));
  await setThreads(1);
  const outputs = [{ shape: shapes[0] }, { shape: shapes[1], accumulates: true }, null];
  await using program = await compileOp(kind, inputs, attributes, outputs);
  const run = async () => {
    const { 0: dx, 1: dw } = await program.run({ 0: inputs[0].data, 1: inputs[1].data, 2: inputs[2].data });
    return [dx, dw].map((data) => bits({ shape: [], data }));
  };
  const alone = await run();
  await setThreads(8);
  const shared = await run();
  program.store.dispose();
  expect(shared.map((x, i) => x.equals(alone[i]))).toEqual([true, true]);
});
