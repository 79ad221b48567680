// Pretraining in bf16 against f32: the same objective and gradient up to the rounding of stored activations, reproducible, learning.
import { native } from '../../lib/binding';
import { sha256 } from '../../lib/formats/sha256';
import { Graph, type Precision, type Tensor } from '../../lib/nn/graph';
import { HubertModel } from '../../lib/nn/model';
import { attention, cast, conv1d, linear, posConv } from '../../lib/nn/ops';
import { ParameterStore } from '../../lib/nn/store';
import { numbers } from './close';
import { batch, clusters, config, samples, train } from './training';

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => Array.from(a).reduce((sum, x, i) => sum + x * b[i], 0);
const cosine = (a: number[], b: number[]) => dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));

const withBf16 = native().backendInfo().bf16 ? test : test.skip;

test('bf16 keeps the nearest number, the even one of two, and infinity and NaN', async () => {
  const pairs = [
    [1 + 2 ** -8, 1],
    [1 + 3 * 2 ** -8, 1 + 2 ** -6],
    [-1 - 2 ** -8 - 2 ** -20, -1 - 2 ** -7],
    [2 ** 127 * 1.999, Number.POSITIVE_INFINITY],
    [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
    [Number.NaN, Number.NaN],
    [-0, -0],
  ];
  // Seventeen: whole vectors and what is left are rounded alike.
  const inputs = Float32Array.from({ length: 17 }, (_, i) => pairs[i % 7][0]);
  const g = new Graph(false);
  g.output('y', cast(cast(g.feed('x', [17]), 'bf16'), 'f32'));
  await using store = new ParameterStore([{ name: 'unused', shape: [1], slices: [] }]);
  await using program = await g.compile(store);
  const { y } = await program.run({ x: inputs });
  expect([...y]).toEqual(Array.from(inputs, (_, i) => pairs[i % 7][1]));
});

interface Op {
  /** Of the inputs; x is the activation. */
  shapes: Record<string, number[]>;
  lengths?: number[];
  build(inputs: Record<string, Tensor>, lengths: Tensor): Tensor;
}

/** Of numbers that bf16 holds exactly: the value of an op, and the gradients of <seed, value>. */
async function valueAndGradients({ shapes, lengths = [1], build }: Op, precision: Precision): Promise<Float32Array[]> {
  const exact = (shape: readonly number[], salt: number) =>
    numbers([...shape], salt).data.map((v) => Math.round(v * 128) / 64);
  const g = new Graph(true, { precision });
  const names = Object.keys(shapes);
  const inputs = names.map((name) => g.parameter(name, shapes[name], { kind: 'zeros' }));
  const tensors = Object.fromEntries(names.map((name, i) => [name, inputs[i]]));
  const y = cast(
    build({ ...tensors, x: cast(tensors.x, precision) }, g.feed('lengths', [lengths.length], 'i32')),
    'f32',
  );
  g.output('y', y);
  g.backward([[y, g.feed('seed', y.shape)]], inputs).forEach((gradient, i) => {
    if (gradient) g.output(names[i], gradient);
  });
  await using store = new ParameterStore([...g.parameters.values()]);
  for (const [i, name] of names.entries()) store.write(name, Float32Array.from(exact(shapes[name], i + 1)));
  await using program = await g.compile(store);
  const feeds = { lengths: Int32Array.from(lengths), seed: Float32Array.from(exact(y.shape, 9)) };
  const outputs = await program.run(feeds, { seed: 3, draw: 4 });
  return [outputs.y, ...names.map((name) => outputs[name] ?? store.read(name, 'gradients'))] as Float32Array[];
}

const heads =
  (dropout: number): Op['build'] =>
  ({ x }, lengths) =>
    attention(x, lengths, { heads: 2, dropout });
const convolution =
  (groups: number): Op['build'] =>
  ({ x, w, bias }) =>
    posConv(x, w, bias, groups);
const product =
  (activation?: 'gelu'): Op['build'] =>
  ({ x, w, bias }) =>
    linear(x, w, bias, { activation });
const strided: Op['build'] = ({ x, w, bias }) => conv1d(x, w, bias, { stride: 2, activation: 'gelu' });
// More frames than a block of queries, keys or outputs; odd numbers of frames, channels and taps; a row of length 0.
const ops: [string, Op][] = [
  ['attention of 5 channels', { shapes: { x: [2, 301, 30] }, lengths: [301, 259], build: heads(0) }],
  ['attention of 64 channels', { shapes: { x: [2, 97, 384] }, lengths: [97, 0], build: heads(0) }],
  ['attention with dropout', { shapes: { x: [1, 301, 96] }, lengths: [299], build: heads(0.2) }],
  ['convolution of 33 taps', { shapes: { x: [2, 203, 30], w: [30, 15, 33], bias: [30] }, build: convolution(2) }],
  ['convolution of 128 taps', { shapes: { x: [2, 50, 48], w: [48, 12, 128], bias: [48] }, build: convolution(4) }],
  ['convolution of one tap', { shapes: { x: [1, 5, 3], w: [3, 1, 1], bias: [3] }, build: convolution(3) }],
  // Large products, which are our own: sizes that end inside a tile (14 x 32) or a pair, several blocks of k (1536), all of it in one for y.
  ['linear, whole tiles', { shapes: { x: [448, 512], w: [512, 512], bias: [512] }, build: product() }],
  ['linear, odd sizes', { shapes: { x: [523, 545], w: [527, 545], bias: [527] }, build: product('gelu') }],
  ['linear, 1601 rows', { shapes: { x: [1601, 513], w: [514, 513], bias: [514] }, build: product('gelu') }],
  ['linear of 3079 channels', { shapes: { x: [241, 3079], w: [512, 3079], bias: [512] }, build: product() }],
  ['convolution, stride 2', { shapes: { x: [2, 1003, 521], w: [523, 521, 3], bias: [523] }, build: strided }],
  // The fast form of kernel 3 and stride 2: frames that make one and two less than whole threes, a frame of x behind the last window.
  ['fast convolution, 2 x 467 frames', { shapes: { x: [2, 936, 160], w: [192, 160, 3], bias: [192] }, build: strided }],
  ['fast convolution, 1603 frames', { shapes: { x: [1, 3207, 288], w: [160, 288, 3], bias: [160] }, build: strided }],
];

const norm = (a: ArrayLike<number>) => Math.sqrt(dot(a, a));

// The selftest's bound: up to four roundings by 2^-9 follow one another (probability, value, gradient of the score, result).
withBf16.each(ops)('%s: value and gradients are those of f32 up to rounding', async (_, op) => {
  const [exact, rounded] = [await valueAndGradients(op, 'f32'), await valueAndGradients(op, 'bf16')];
  for (const [i, values] of rounded.entries())
    expect(norm(values.map((v, j) => v - exact[i][j])) / norm(exact[i])).toBeLessThan(2 ** -7);
});

withBf16('the number of threads changes no bit of attention, convolutions and large products', async () => {
  const everything = async (threads: number) => {
    await native().setThreads(threads);
    const results = await Promise.all(ops.map(([, op]) => valueAndGradients(op, 'bf16')));
    return results.map((op) => op.map((values) => sha256().update(values).digest('hex')));
  };
  const one = await everything(1);
  for (const threads of [3, 2]) expect(await everything(threads)).toEqual(one);
});

withBf16('the gradient of a whole model points where that of f32 does', async () => {
  const [exact, rounded] = [await train(0), await train(0, { precision: 'bf16' })];
  const all = (g: Map<string, Float32Array>) => [...g.values()].flatMap((v) => Array.from(v));
  expect(cosine(all(rounded.gradients), all(exact.gradients))).toBeGreaterThan(0.999);
});

withBf16('30 updates: the same bits twice, and the losses of f32 within 2 %', async () => {
  const [exact, first, second] = [
    await train(30),
    await train(30, { precision: 'bf16' }),
    await train(30, { precision: 'bf16' }),
  ];
  expect(second.losses).toEqual(first.losses);
  expect(second.gradients).toEqual(first.gradients);
  expect(first.losses[29]).toBeLessThan(first.losses[0]);
  first.losses.forEach((loss, i) => {
    expect(Math.abs(loss / exact.losses[i] - 1)).toBeLessThan(0.02);
  });
});

test('a precision that does not exist is refused', () => {
  const model = HubertModel.create({ config, clusters, seed: 1 });
  expect(() => model.pretraining({ batch, samples, precision: 'f16' as Precision })).toThrow(
    expect.objectContaining({ code: 'HK_PRECISION' }),
  );
  model.dispose();
});
