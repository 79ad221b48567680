/**
 * The parts of gpu-check that no command of hubertkit does, each a process of its own that prints one JSON line:
 *   node dist/bench/gpu-part.js ceilings
 *   node dist/bench/gpu-part.js updates|eager|compile PRESET PRECISION BATCH SECONDS
 * ceilings: copy and matrix products through PyTorch. updates: loss and gradient norm of hubertkit's first three. eager and compile: the
 * same step in PyTorch, timed.
 */
import type { StepBenchOptions } from '../lib/bench/step';
import type { Precision } from '../lib/nn/graph';
import type { PresetName } from '../lib/nn/config';
import { Peer } from './peers/peer';
import { firstUpdates, timePyTorchOnGpu } from './peers/step';

/** Python starts without the libraries that lie beside hubertkit. */
const environment = { LD_LIBRARY_PATH: process.env.HUBERTKIT_OUTER_LIBRARY_PATH };

async function ceilings() {
  await using peer = await Peer.start('ceilings.py', [], 1, environment);
  return { peer: peer.name, ...(await peer.ask<object>('measure')) };
}

async function main([part, preset, precision, batch, seconds]: string[]): Promise<object> {
  if (part === 'ceilings') return ceilings();
  const options: StepBenchOptions = {
    device: 'cuda',
    preset: preset as PresetName,
    precision: precision as Precision,
    batch: Number(batch),
    seconds: Number(seconds),
  };
  if (part === 'updates') return { updates: await firstUpdates(options) };
  if (part === 'eager' || part === 'compile') return timePyTorchOnGpu(options, part, environment);
  throw new Error(`There is no part "${part}".`);
}

main(process.argv.slice(2)).then(
  (result) => console.log(JSON.stringify(result)),
  ({ code, message }) => {
    console.error(code ? `${code}: ${message}` : message);
    process.exitCode = 1;
  },
);
