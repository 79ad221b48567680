/** Every op of a training step, value and gradient, alone, at the shapes of every preset. Small inputs stay in the caches. */
import { Bench } from 'tinybench';
import { spread } from '../lib/bench/median';
import { floorSeconds, type Roofline } from '../lib/bench/roofline';
import { hubertConfig, type PresetName } from '../lib/nn/config';
import { type EmittedOp, Graph, type ParameterSpec } from '../lib/nn/graph';
import { featurePenalty, hubert, predictionHead } from '../lib/nn/hubert';
import { Program } from '../lib/nn/program';
import { ParameterStore } from '../lib/nn/store';
import type { NativeValue, TypedArray } from '../lib/binding/core';
import type { Measurement } from './measurement';

export interface OpShapes {
  preset: PresetName;
  batch: number;
  seconds: number;
}

const dtypes = ['f32', 'bf16', 'i32', 'u8'];

/** The ops of one training step in f32. */
function opsOf({ preset, batch, seconds }: OpShapes): EmittedOp[] {
  const c = hubertConfig(preset, { inputDropout: 0, hiddenDropout: 0, attentionDropout: 0, layerDrop: 0 });
  const g = new Graph(true);
  const { features, states, lengths, mask, frames } = hubert(g, { batch, samples: seconds * 16000 }, c);
  const labels = g.feed('labels', [batch, frames], 'i32');
  const sums = predictionHead(states[c.layers], labels, mask, lengths, c, 100, false);
  g.backward([
    [sums, g.feed('loss weights', [6])],
    [featurePenalty(features, c)!, g.feed('penalty weight', [1])],
  ]);
  return g.opList();
}

/** "linear f32[498,768] f32[3072,768] f32[3072]", the same for ops that do the same work. */
function nameOf({ kind, inputs, outputs, attributes }: EmittedOp): string {
  const shape = (value: NativeValue | null) => (value ? `${dtypes[value.dtype]}[${value.shape}]` : '-');
  const parts = outputs.some((o) => !o) ? ` -> ${outputs.map((o) => (o ? 'y' : '-')).join('')}` : '';
  const extra = attributes.heads ? ` heads ${attributes.heads}` : '';
  return `${kind}${extra} ${inputs.map(shape).join(' ')}${parts}`;
}

export async function benchOps(
  shapes: OpShapes[],
  roofline: Roofline,
  progress: (what: string) => void,
): Promise<Measurement[]> {
  const measured = new Map<string, Measurement>();
  for (const shape of shapes) {
    progress(`ops of ${shape.preset}`);
    for (const op of opsOf(shape)) {
      const name = nameOf(op);
      if (!measured.has(name)) measured.set(name, await benchOp(`${shape.preset}: ${name}`, op, roofline));
    }
  }
  return [...measured.values()];
}

/** The op as a program of its own. Floats are parameters, so that nothing is copied; lengths, labels and masks are feeds. */
async function compiled(op: EmittedOp) {
  const parameters: ParameterSpec[] = [{ name: 'one', shape: [1], slices: [] }]; // a store has at least one
  const values: NativeValue[] = [];
  const feeds: { name: string; value: NativeValue }[] = [];
  const parameter = (kind: 'parameter' | 'gradient', shape: number[]) => {
    const name = `${parameters.length}`;
    const init = { kind: 'normal', b: 0.1 } as const;
    parameters.push({ name, shape, slices: [{ name, rows: shape[0], init }] });
    return values.push({ kind, dtype: 0, shape, name }) - 1;
  };
  const inputs = op.inputs.map((x) => {
    if (!x) return -1;
    if (x.dtype === 0) return parameter('parameter', x.shape);
    const value: NativeValue = { kind: 'feed', dtype: x.dtype, shape: x.shape };
    feeds.push({ name: `${feeds.length}`, value });
    return values.push(value) - 1;
  });
  const outputs = op.outputs.map((y) => {
    if (!y) return -1;
    if (y.kind === 'gradient') return parameter('gradient', y.shape);
    return values.push({ kind: 'temporary', dtype: y.dtype, shape: y.shape, accumulates: y.accumulates }) - 1;
  });
  const store = new ParameterStore(parameters);
  store.initialiseAll(1);
  const { kind, attributes } = op;
  const ops = [{ kind, label: kind, inputs, outputs, attributes, gate: -1 }];
  const program = await Program.compile(store, values, ops, feeds, new Map(), []);
  const data = Object.fromEntries(feeds.map(({ name, value }) => [name, integersFor(value, op)]));
  return { program, store, data };
}

/** Masks cover 57 % of the frames in spans of 10; lengths are whole rows; labels are 0 to 99. */
function integersFor({ dtype, shape }: NativeValue, op: EmittedOp): TypedArray {
  const n = shape.reduce((a, b) => a * b, 1);
  if (dtypes[dtype] === 'u8') return Uint8Array.from({ length: n }, (_, i) => (Math.floor(i / 10) % 7 < 4 ? 1 : 0));
  const frames = op.inputs.find((x) => x?.shape.length === 3 || x?.dtype === 3)!.shape[1];
  return Int32Array.from({ length: n }, (_, i) => (shape.length === 1 ? frames : i % 100));
}

/** The time inside the op, without the call. */
async function benchOp(name: string, op: EmittedOp, roofline: Roofline): Promise<Measurement> {
  const { program, store, data } = await compiled(op);
  const bench = new Bench({ time: 200, iterations: 5, warmupTime: 20, warmupIterations: 1, retainSamples: true });
  bench.add(name, async () => {
    await program.run(data);
    return { overriddenDuration: 1000 * program.lastSeconds };
  });
  await bench.run();
  await program.run(data, { profile: true });
  const [cost] = program.lastProfile;
  program.dispose();
  store.dispose();
  const { result } = bench.tasks[0];
  if (!('latency' in result)) throw new Error(`${name}: ${JSON.stringify(result)}`);
  const seconds = spread(result.latency.samples!.map((ms) => ms / 1000));
  return {
    suite: 'ops',
    name,
    seconds,
    rates: { gflops: cost.flops / seconds.median / 1e9, gbytes_per_s: cost.bytes / seconds.median / 1e9 },
    floor_s: floorSeconds(cost, roofline),
  };
}
