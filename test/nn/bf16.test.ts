// Pretraining in bf16 against f32: the same objective and gradient up to the rounding of stored activations, reproducible, learning.
import { native } from '../../lib/binding';
import { Graph, type Precision } from '../../lib/nn/graph';
import { HubertModel } from '../../lib/nn/model';
import { cast } from '../../lib/nn/ops';
import { ParameterStore } from '../../lib/nn/store';
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
