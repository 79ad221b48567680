// The matrix products behind linear and conv1d at the edges of their tiles (14 x 32), of their blocks of k (at most 768) and of rows (532 at
// that depth), with one, two and three threads. Where they are our own, on AVX-512, the bits are the same for all.
import { native, wrappedAsync } from '../../lib/binding';
import { callOp, type NdArray } from '../../lib/nn/call';
import * as convolution from '../reference/conv';
import * as reference from '../reference/transformer';
import { expectClose, numbers } from './close';

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
    shared.forEach((x, i) => {
      if (native().backendInfo().variant.startsWith('avx512')) expect(bits(x).equals(bits(alone[i]))).toBe(true);
      else expectClose(x, alone[i].data);
    });
  }
  return alone;
}

test.each([
  [1, 1, 1],
  [13, 17, 31],
  [14, 16, 32],
  [15, 33, 33],
  [43, 769, 65],
  [767, 45, 14],
  [1101, 801, 35],
])('linear: %i rows, %i to %i channels', async (rows, inputs, outputs) => {
  const [x, w, bias] = [numbers([rows, inputs]), numbers([outputs, inputs], 2), numbers([outputs], 3)];
  const shape = [rows, outputs];
  const dz = numbers(shape, 4);
  const [y, z, dx, dw] = await withAnyThreads(async () => [
    ...(await callOp('linear', [x, w, bias], { gelu: 1 }, [{ shape }, { shape }])),
    ...(await callOp('linear_grad', [x, w, dz], {}, [{ shape: x.shape }, { shape: w.shape, accumulates: true }, null])),
  ]);
  const expected = reference.linear(x.data, w.data, bias.data, rows, inputs, outputs);
  expectClose(z, expected);
  expectClose(y, Float64Array.from(expected, reference.gelu));
  const gradient = reference.linearGrad(x.data, w.data, dz.data, rows, inputs, outputs);
  expectClose(dx, gradient.dx);
  expectClose(dw, gradient.dw);
});

test.each([
  [1, 1200, 300, 33, 3, 2],
  [2, 131, 48, 40, 2, 2],
  [1, 90, 19, 15, 5, 1],
])(
  'conv1d: batch %i, %i frames, %i -> %i channels, kernel %i, stride %i',
  async (batch, time, inputs, outputs, kernel, stride) => {
    const c = { batch, time, inputs, outputs, kernel, stride };
    const shape = [batch, convolution.convFrames(c), outputs];
    const [x, w, bias] = [numbers([batch, time, inputs]), numbers([outputs, inputs, kernel], 2), numbers([outputs], 3)];
    const dz = numbers(shape, 4);
    const [y, z, dx, dw] = await withAnyThreads(async () => [
      ...(await callOp('conv1d', [x, w, bias], { stride, gelu: 1 }, [{ shape }, { shape }])),
      ...(await callOp('conv1d_grad', [x, w, dz], { stride }, [
        { shape: x.shape },
        { shape: w.shape, accumulates: true },
        null,
      ])),
    ]);
    const expected = convolution.conv(x.data, w.data, bias.data, c);
    expectClose(z, expected);
    expectClose(y, convolution.map(expected, convolution.gelu));
    const gradient = convolution.convGrad(x.data, w.data, dz.data, c);
    expectClose(dx, gradient.dx);
    expectClose(dw, gradient.dw);
  },
);
