/** Attention alone, in bf16, beside PyTorch's scaled_dot_product_attention on the same device: first the same values, then the times. */
import * as path from 'node:path';
import { median } from '../../lib/bench/median';
import { float32Tensor, writeSafetensors } from '../../lib/formats/safetensors';
import { Graph } from '../../lib/nn/graph';
import { attention, cast } from '../../lib/nn/ops';
import { ParameterStore } from '../../lib/nn/store';
import { inTemporaryFolder, Peer } from './peer';

export interface AttentionShape {
  batch: number;
  frames: number;
  width: number;
  heads: number;
}

/** One call: seconds, and FLOP of the products of q, k, v and the probabilities (2 forward, 5 backward) per second. */
interface Speed {
  forward_s: number;
  backward_s: number;
  forward_tflops: number;
  backward_tflops: number;
}

export interface AttentionComparison extends AttentionShape {
  peer: string;
  /** How far output and gradient of qkv lie from PyTorch's, as a share of their norm. */
  outputError: number;
  gradientError: number;
  /** Both are within `tolerance`; without that there are no ratios. */
  sameValues: boolean;
  /** `timesAsFast`: than the fastest kernel that PyTorch has for it, forward and backward. */
  dropouts: {
    dropout: number;
    ours: Speed;
    theirs: Speed & { kernel: string };
    timesAsFast?: { forward: number; backward: number };
  }[];
}

/** Of values that went through bf16 on both sides. */
const tolerance = { output: 0.01, gradient: 0.02 };

/** Calls in one program beyond the first: what else the program does cancels in the difference. */
const more = 10;

export async function compareAttention(
  device: string,
  shape: AttentionShape,
  environment: NodeJS.ProcessEnv = {},
): Promise<AttentionComparison> {
  return inTemporaryFolder(async (folder) => {
    const store = new ParameterStore([...graphOf(shape, { calls: 1, backward: true }).parameters.values()], device);
    store.initialiseAll(1);
    await writeValues(store, shape, path.join(folder, 'attention.safetensors'));
    const kind = device.split(':')[0];
    await using peer = await Peer.start('attention.py', [folder, shape.heads, kind], 1, environment);
    const check = await peer.ask<{ output_error: number; gradient_error: number }>('check');
    const sameValues = check.output_error < tolerance.output && check.gradient_error < tolerance.gradient;
    const dropouts: AttentionComparison['dropouts'] = [];
    for (const dropout of [0, 0.1]) {
      const ours = speedOf(await secondsOf(store, shape, dropout), shape);
      const times = await peer.ask<{ kernel: string; forward_s: number; backward_s: number }>(`time ${100 * dropout}`);
      const theirs = { kernel: times.kernel, ...speedOf(times, shape) };
      const timesAsFast = {
        forward: theirs.forward_s / ours.forward_s,
        backward: theirs.backward_s / ours.backward_s,
      };
      dropouts.push({ dropout, ours, theirs, ...(sameValues && { timesAsFast }) });
    }
    store.dispose();
    const { output_error: outputError, gradient_error: gradientError } = check;
    return { peer: peer.name, ...shape, outputError, gradientError, sameValues, dropouts };
  });
}

/** So many calls of attention on the same qkv, each with its gradient or without. */
function graphOf(
  { batch, frames, width, heads }: AttentionShape,
  options: { calls: number; backward: boolean; dropout?: number; values?: boolean },
): Graph {
  const { calls, backward, dropout, values } = options;
  const g = new Graph(true, { precision: 'bf16' });
  // An alias without a rule: gradients end here, at bf16.
  const random = (name: string, columns: number) => {
    const parameter = g.parameter(name, [batch, frames, columns], { kind: 'normal', a: 0, b: 1 });
    return g.alias(cast(parameter, 'bf16'), () => undefined);
  };
  const [qkv, upstream] = [random('qkv', 3 * width), random('output gradient', width)];
  const lengths = g.feed('lengths', [batch], 'i32');
  for (let call = 0; call < calls; call++) {
    const output = attention(qkv, lengths, { heads, dropout });
    if (values) g.output('output', cast(output, 'f32'));
    if (!backward) continue;
    const [gradient] = g.backward([[output, upstream]], [qkv]);
    if (values) g.output('gradient', cast(gradient!, 'f32'));
  }
  return g;
}

const allFrames = ({ batch, frames }: AttentionShape) => ({ lengths: new Int32Array(batch).fill(frames) });

async function writeValues(store: ParameterStore, shape: AttentionShape, file: string): Promise<void> {
  await using program = await graphOf(shape, { calls: 1, backward: true, values: true }).compile(store);
  const { output, gradient } = await program.run(allFrames(shape));
  const inputs = store.names().map((name) => [name, float32Tensor(store.shape(name), store.read(name))] as const);
  await writeSafetensors(file, {
    ...Object.fromEntries(inputs),
    output: float32Tensor(store.shape('output gradient'), output as Float32Array),
    gradient: float32Tensor(store.shape('qkv'), gradient as Float32Array),
  });
}

/** Seconds of one call, forward and backward. */
async function secondsOf(store: ParameterStore, shape: AttentionShape, dropout: number) {
  const program = async (calls: number, backward: boolean) => {
    await using made = await graphOf(shape, { calls, backward, dropout }).compile(store);
    const seconds: number[] = [];
    for (let run = 0; run < 13; run++) {
      await made.run(allFrames(shape));
      if (run >= 3) seconds.push(made.lastSeconds);
    }
    return median(seconds.sort((a, b) => a - b));
  };
  const call = async (backward: boolean) => ((await program(1 + more, backward)) - (await program(1, backward))) / more;
  const forward_s = await call(false);
  return { forward_s, backward_s: (await call(true)) - forward_s };
}

function speedOf(
  { forward_s, backward_s }: Pick<Speed, 'forward_s' | 'backward_s'>,
  { batch, frames, width }: AttentionShape,
): Speed {
  const product = (2 * batch * frames * frames * width) / 1e12;
  return {
    forward_s,
    backward_s,
    forward_tflops: (2 * product) / forward_s,
    backward_tflops: (5 * product) / backward_s,
  };
}
