/**
 * The parts of gpu-check that no command of hubertkit does, each a process of its own that prints one JSON line:
 *   node dist/bench/gpu-part.js ceilings
 *   node dist/bench/gpu-part.js updates|eager|compile PRESET PRECISION BATCH SECONDS
 *   node dist/bench/gpu-part.js attention DEVICE BATCH FRAMES WIDTH HEADS
 *   node dist/bench/gpu-part.js kmeans DEVICE CLUSTERS DIM FRAMES
 *   node dist/bench/gpu-part.js curve DEVICE PRECISION
 * ceilings: copy and matrix products through PyTorch. updates: loss and gradient norm of hubertkit's first three. eager and compile: the
 * same step in PyTorch, timed. attention and kmeans: beside PyTorch on the same device. curve: the training whose curve on the CPU lies
 * in build/curves.
 */
import type { StepBenchOptions } from '../lib/bench/step';
import type { Precision } from '../lib/nn/graph';
import type { PresetName } from '../lib/nn/config';
import { curveOf } from './curves';
import { compareAttention } from './peers/attention';
import { compareKmeansOnDevice } from './peers/others';
import { Peer } from './peers/peer';
import { firstUpdates, timePyTorchOnGpu } from './peers/step';

/** Python starts without the libraries that lie beside hubertkit. */
const environment = { LD_LIBRARY_PATH: process.env.HUBERTKIT_OUTER_LIBRARY_PATH };

async function ceilings() {
  await using peer = await Peer.start('ceilings.py', [], 1, environment);
  return { peer: peer.name, ...(await peer.ask<object>('measure')) };
}

function step([preset, precision, batch, seconds]: string[]): StepBenchOptions {
  return {
    device: 'cuda',
    preset: preset as PresetName,
    precision: precision as Precision,
    batch: Number(batch),
    seconds: Number(seconds),
  };
}

async function attention([device, ...sizes]: string[]): Promise<object> {
  const [batch, frames, width, heads] = sizes.map(Number);
  return compareAttention(device, { batch, frames, width, heads }, environment);
}

async function kmeans([device, ...sizes]: string[]): Promise<object> {
  const [clusters, dim, frames] = sizes.map(Number);
  return compareKmeansOnDevice({ device, clusters, dim, frames }, 3, environment);
}

const parts: Record<string, (parameters: string[]) => Promise<object>> = {
  ceilings,
  updates: async (parameters) => ({ updates: await firstUpdates(step(parameters)) }),
  eager: (parameters) => timePyTorchOnGpu(step(parameters), 'eager', environment),
  compile: (parameters) => timePyTorchOnGpu(step(parameters), 'compile', environment),
  attention,
  kmeans,
  curve: async ([device, precision]) => ({ bits: await curveOf(device, precision as Precision) }),
};

async function main([part, ...parameters]: string[]): Promise<object> {
  if (!(part in parts)) throw new Error(`There is no part "${part}".`);
  return parts[part](parameters);
}

main(process.argv.slice(2)).then(
  (result) => console.log(JSON.stringify(result)),
  ({ code, message }) => {
    console.error(code ? `${code}: ${message}` : message);
    process.exitCode = 1;
  },
);
