import * as fc from 'fast-check';
import { native } from '../../lib/binding';
import { callOp } from '../../lib/nn/call';
import { Graph, type Tensor } from '../../lib/nn/graph';
import { add, layerNorm, linear, scale } from '../../lib/nn/ops';
import type { Program } from '../../lib/nn/program';
import { ParameterStore } from '../../lib/nn/store';

async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'no error';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

function smallGraph() {
  const g = new Graph(true);
  const x = g.feed('x', [2, 3]);
  const w = g.parameter('w', [4, 3], { kind: 'normal', a: 0, b: 1 });
  g.output('y', linear(x, w, null));
  return g;
}

describe('a graph', () => {
  test('refuses dimensions that are not whole numbers of at least 1', async () => {
    for (const bad of [Number.NaN, 0, -1, 1.5, Number.POSITIVE_INFINITY, '3' as unknown as number])
      expect(await codeOf(() => new Graph(false).feed('x', [bad]))).toBe('HK_SHAPE');
  });

  test('names the op and both shapes when they do not fit', () => {
    const g = new Graph(false);
    const x = g.feed('x', [2, 3]);
    expect(() => linear(x, g.parameter('w', [4, 5], { kind: 'zeros' }), null)).toThrow(
      /linear.*f32\[2, 3\].*f32\[4, 5\]/,
    );
  });

  test('refuses a tensor of another graph and a wrong dtype', async () => {
    const g = new Graph(false);
    const other = new Graph(false).feed('x', [2]);
    expect(await codeOf(() => add(g.feed('x', [2]), other))).toBe('HK_ARGUMENT');
    expect(
      await codeOf(() => linear(g.feed('i', [2, 3], 'i32'), g.parameter('w', [1, 3], { kind: 'zeros' }), null)),
    ).toBe('HK_DTYPE');
  });

  test('a closed gate passes x through, and its gradient, and leaves the parameters of the body alone', async () => {
    const g = new Graph(true);
    const x = g.feed('x', [1, 2]);
    const a = g.parameter('a', [2, 2], { kind: 'zeros' });
    const b = g.parameter('b', [2, 2], { kind: 'zeros' });
    const first = linear(x, a, null);
    const y = g.gated('drop', first, (inner) => add(inner, linear(inner, b, null)));
    g.output('y', y);
    g.backward([[y, g.feed('dy', [1, 2])]]);
    const store = new ParameterStore([...g.parameters.values()]);
    store.write('a', Float32Array.of(1, 2, 3, 4));
    store.write('b', Float32Array.of(1, 1, 0, 2));
    await using program = await g.compile(store);
    const feeds = { x: Float32Array.of(1, 1), dy: Float32Array.of(1, 10) };
    const closed = await program.run(feeds, { gates: { drop: false } });
    expect([...closed.y]).toEqual([3, 7]);
    expect([...store.read('a', 'gradients')]).toEqual([1, 1, 10, 10]);
    expect([...store.read('b', 'gradients')]).toEqual([0, 0, 0, 0]);
    store.write('a', new Float32Array(4), 'gradients');
    const open = await program.run(feeds, { gates: { drop: true } });
    // y = f + b f with f = (3, 7): b f = (10, 14)
    expect([...open.y]).toEqual([13, 21]);
    // df = dy + b' dy = (1, 10) + (1, 21)
    expect([...store.read('a', 'gradients')]).toEqual([2, 2, 31, 31]);
    expect([...store.read('b', 'gradients')]).toEqual([3, 7, 30, 70]);
    store.dispose();
  });

  test('gradients of a tensor with several consumers add up', async () => {
    const g = new Graph(true);
    const w = g.parameter('w', [1, 1], { kind: 'zeros' });
    const y = linear(g.feed('x', [1, 1]), w, null);
    const total = add(add(y, y), scale(y, 3));
    g.output('total', total);
    g.backward([[total, g.feed('one', [1, 1])]]);
    const store = new ParameterStore([...g.parameters.values()]);
    await using program = await g.compile(store);
    await program.run({ x: Float32Array.of(2), one: Float32Array.of(1) });
    expect([...store.read('w', 'gradients')]).toEqual([10]);
    store.dispose();
  });
});

describe('a program', () => {
  let store: ParameterStore;
  let program: Program;
  beforeEach(async () => {
    const g = smallGraph();
    store = new ParameterStore([...g.parameters.values()]);
    program = await g.compile(store);
  });
  afterEach(() => {
    program.dispose();
    store.dispose();
  });

  test('refuses missing, unknown and wrong feeds', async () => {
    const x = new Float32Array(6);
    expect(await codeOf(() => program.run({}))).toBe('HK_NAME');
    expect(await codeOf(() => program.run({ x, z: x }))).toBe('HK_NAME');
    expect(await codeOf(() => program.run({ x: new Int32Array(6) }))).toBe('HK_DTYPE');
    expect(await codeOf(() => program.run({ x: new Float32Array(5) }))).toBe('HK_SHAPE');
    expect(await codeOf(() => program.run({ x: [1, 2] as unknown as Float32Array }))).toBe('HK_DTYPE');
    expect(await codeOf(() => program.run({ x }, { gates: { nope: true } }))).toBe('HK_NAME');
  });

  test('refuses a second run before the first is done, and parameters while it runs', async () => {
    const first = program.run({ x: new Float32Array(6) });
    expect(await codeOf(() => program.run({ x: new Float32Array(6) }))).toBe('HK_BUSY');
    expect(await codeOf(() => store.read('w'))).toBe('HK_BUSY');
    await first;
    expect(await codeOf(() => store.read('w'))).toBe('no error');
  });

  test('says so when it is used after dispose', async () => {
    program.dispose();
    program.dispose();
    expect(await codeOf(() => program.run({ x: new Float32Array(6) }))).toBe('HK_DISPOSED');
    store.dispose();
    expect(await codeOf(() => store.read('w'))).toBe('HK_DISPOSED');
    const g = smallGraph();
    expect(await codeOf(() => g.compile(store))).toBe('HK_DISPOSED');
  });

  test('a disposed store does not pull the ground from under a running program', async () => {
    const run = program.run({ x: Float32Array.of(1, 2, 3, 4, 5, 6) });
    store.dispose();
    program.dispose();
    expect((await run).y).toHaveLength(8);
  });

  test('a detached or transferred feed does no harm', async () => {
    const x = new Float32Array(6).fill(1);
    const run = program.run({ x });
    structuredClone(x, { transfer: [x.buffer] });
    expect((await run).y).toHaveLength(8);
    expect(await codeOf(() => program.run({ x }))).toBe('HK_SHAPE');
  });

  test('places results where an input lies that nothing reads afterwards', async () => {
    const bytes = 4 * 1024;
    const x = Float32Array.from({ length: 1024 }, (_, i) => i);
    const empty = new ParameterStore([]);
    const run = async (build: (x: Tensor) => Tensor) => {
      const g = new Graph(false);
      g.output('y', build(g.feed('x', [1024])));
      const made = await g.compile(empty);
      const { y } = await made.run({ x });
      made.dispose();
      return { y: y[3], tensors: made.memory.arena / bytes };
    };
    expect(await run((a) => scale(scale(scale(scale(a, 2), 3), 5), 7))).toEqual({ y: 630, tensors: 1 });
    const keptForLater = (a: Tensor) => {
      const first = scale(a, 2);
      return scale(add(scale(scale(first, 3), 5), first), 7);
    };
    expect(await run(keptForLater)).toEqual({ y: 672, tensors: 2 });
    expect(await run((a) => scale(add(scale(a, 2), scale(a, 3)), 5))).toEqual({ y: 75, tensors: 2 });
    empty.dispose();
  });

  test('knows its memory before it runs', () => {
    expect(program.memory.buffers).toBeGreaterThanOrEqual((6 + 8) * 4);
  });

  test('a store without the parameter, or with another shape, is refused', async () => {
    const other = new ParameterStore([
      { name: 'w', shape: [4, 4], slices: [{ name: 'w', rows: 4, init: { kind: 'zeros' } }] },
    ]);
    expect(await codeOf(() => smallGraph().compile(other))).toBe('HK_SHAPE');
    const empty = new ParameterStore([
      { name: 'v', shape: [1], slices: [{ name: 'v', rows: 1, init: { kind: 'zeros' } }] },
    ]);
    expect(await codeOf(() => smallGraph().compile(empty))).toBe('HK_NAME');
    other.dispose();
    empty.dispose();
  });
});

describe('initialisation', () => {
  test('depends on seed and name alone and has the moments it states', () => {
    const spec = (name: string, kind: 'normal' | 'uniform', a: number, b: number) => ({
      name,
      shape: [100000],
      slices: [{ name, rows: 100000, init: { kind, a, b } }],
    });
    const store = new ParameterStore([spec('n', 'normal', 1, 2), spec('u', 'uniform', -1, 3)]);
    store.initialiseAll(7);
    const n = store.read('n');
    const u = store.read('u');
    const mean = (x: Float32Array) => x.reduce((s, v) => s + v, 0) / x.length;
    const deviation = (x: Float32Array) => Math.sqrt(x.reduce((s, v) => s + (v - mean0) ** 2, 0) / x.length);
    let mean0 = mean(n);
    expect(mean0).toBeCloseTo(1, 1); // standard error .006
    expect(deviation(n)).toBeCloseTo(2, 1);
    mean0 = mean(u);
    expect(mean0).toBeCloseTo(1, 1);
    expect(deviation(u)).toBeCloseTo(4 / Math.sqrt(12), 1);
    expect(Math.min(...u.slice(0, 50000))).toBeGreaterThanOrEqual(-1);
    store.initialise('n', 7);
    expect(store.read('n')).toEqual(n);
    store.initialise('n', 8);
    expect(store.read('n')).not.toEqual(n);
    store.dispose();
  });
});

describe('the binding', () => {
  test('survives arguments of every kind', async () => {
    const functions = [
      'createStore',
      'storeRead',
      'storeWrite',
      'storeInitialise',
      'compileProgram',
      'runProgram',
      'disposeStore',
      'disposeProgram',
      'setThreads',
    ] as const;
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...functions),
        fc.array(fc.anything({ withBigInt: true, withTypedArray: true }), { maxLength: 8 }),
        async (name, args) => {
          if (name === 'setThreads' && Number(args[0]) > 0) return;
          try {
            await (native()[name] as (...a: unknown[]) => unknown)(...args);
          } catch (error) {
            expect(typeof (error as Error).message).toBe('string');
          }
        },
      ),
      { numRuns: 400, seed: 1 },
    );
  });

  test('survives op lists of every kind', async () => {
    const store = native().createStore('cpu', [{ name: 'w', shape: [4, 3] }]);
    const dimension = fc.constantFrom(1, 2, 3, 4, 6, 12);
    const value = fc.record({
      kind: fc.constantFrom('feed', 'temporary', 'parameter', 'gradient', 'flat-values'),
      dtype: fc.constantFrom(0, 1, 2, 3),
      shape: fc.array(dimension, { maxLength: 4 }),
      name: fc.constantFrom('w', 'x'),
      accumulates: fc.boolean(),
      fetch: fc.boolean(),
    });
    const kinds = [
      'linear',
      'linear_grad',
      'layer_norm',
      'layer_norm_grad',
      'add_layer_norm',
      'add_layer_norm_grad',
      'attention',
      'attention_grad',
      'conv1d',
      'conv1d_grad',
      'conv0_norm_gelu',
      'conv0_norm_gelu_grad',
      'pos_conv',
      'pos_conv_grad',
      'weight_norm',
      'weight_norm_grad',
      'mask_frames',
      'mask_frames_grad',
      'channel_mask',
      'gather_rows',
      'scatter_rows',
      'masked_cross_entropy',
      'masked_cross_entropy_grad',
      'mean_square',
      'add',
      'scale',
      'select',
      'ctc',
      'ctc_grad',
      'cross_entropy',
      'argmax',
      'kmeans_assign',
      'adamw',
      'gelu',
      'gelu_grad',
      'dropout',
      'nope',
    ];
    const attributes = fc.dictionary(
      fc.constantFrom(
        'heads',
        'stride',
        'groups',
        'gelu',
        'dropout',
        'eps',
        'gate',
        'temperature',
        'blank',
        'stream',
        'factor',
      ),
      fc.constantFrom(-1, 0, 0.5, 1, 2, 3, 1e30),
    );
    const op = fc.record({
      kind: fc.constantFrom(...kinds),
      label: fc.constant('op'),
      inputs: fc.array(fc.integer({ min: -1, max: 6 }), { maxLength: 10 }),
      outputs: fc.array(fc.integer({ min: -1, max: 6 }), { maxLength: 4 }),
      attributes,
      gate: fc.constantFrom(-1, 0),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(value, { minLength: 1, maxLength: 7 }),
        fc.array(op, { maxLength: 3 }),
        async (values, ops) => {
          try {
            const made = await native().compileProgram(store.handle, values as never, ops, 1);
            native().disposeProgram(made.handle);
          } catch (error) {
            expect((error as { code: string }).code).toMatch(/^HK_/);
          }
        },
      ),
      { numRuns: 1500, seed: 2 },
    );
    native().disposeStore(store.handle);
  });

  test('an op that does not exist is named', async () => {
    await expect(
      callOp('nope', [{ shape: [1], data: new Float32Array(1) }], {}, [{ shape: [1] }]),
    ).rejects.toMatchObject({
      code: 'HK_NAME',
      message: expect.stringContaining("'nope'"),
    });
  });

  test('layer norm of one-op programs equals its definition', async () => {
    const g = new Graph(false);
    const x = g.feed('x', [1, 4]);
    g.output('y', layerNorm(x, g.feed('gamma', [4]), g.feed('beta', [4]), 1e-12));
    const store = new ParameterStore([{ name: 'unused', shape: [1], slices: [] }]);
    await using program = await g.compile(store);
    const { y } = await program.run({
      x: Float32Array.of(1, 2, 3, 4),
      gamma: new Float32Array(4).fill(1),
      beta: new Float32Array(4),
    });
    [-1.3416407865, -0.4472135955, 0.4472135955, 1.3416407865].forEach((v, i) => {
      expect(y[i]).toBeCloseTo(v, 5);
    });
    store.dispose();
  });
});
