/** Whole training steps beside PyTorch: first the same losses and gradient norms from the same weights, then the times. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { trainingStep, type StepBenchOptions, type TrainingStep } from '../../lib/bench/step';
import { writeSafetensors } from '../../lib/formats/safetensors';
import { type Comparison, interleaved } from './compare';
import { Peer } from './peer';

interface PeerRun {
  seconds: number[];
  loss: number;
  gradient_norm: number;
}

/** How far loss and gradient norm may lie apart, as a share of them. */
const tolerance = { f32: { loss: 1e-4, norm: 1e-3 }, bf16: { loss: 1e-2, norm: 5e-2 } };

/** Throws MissingPeer without PyTorch, and an error where the two models are not the same. */
export async function compareStep(options: StepBenchOptions, rounds: number): Promise<Comparison> {
  const { preset, batch, seconds, precision = 'f32', threads = os.availableParallelism() } = options;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-peer-'));
  try {
    await using step = await trainingStep(options);
    await exportStep(step, batch, folder);
    await using peer = await Peer.start('step.py', [folder, precision, threads], threads);
    await checkEqual(step, peer, precision);
    const ours = () => repeated(() => step.update());
    const theirs = async () => (await peer.ask<PeerRun>(`run ${turn}`)).seconds;
    return await interleaved(`${preset} ${batch} x ${seconds} s, ${precision}`, peer.name, ours, theirs, rounds);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** Updates of one turn. */
const turn = 3;

async function repeated(work: () => Promise<unknown>): Promise<number[]> {
  const seconds: number[] = [];
  for (let i = 0; i < turn; i++) {
    const begin = performance.now();
    await work();
    seconds.push((performance.now() - begin) / 1000);
  }
  return seconds;
}

async function exportStep({ model, input }: TrainingStep, batch: number, folder: string): Promise<void> {
  await model.save(folder);
  const row = (length: number) => [batch, length / batch];
  await writeSafetensors(path.join(folder, 'inputs.safetensors'), {
    waveform: { dtype: 'F32', shape: row(input.waveform.length), data: input.waveform },
    labels: { dtype: 'I32', shape: row(input.labels.length), data: input.labels },
    mask: { dtype: 'U8', shape: row(input.mask.length), data: input.mask },
  });
}

/** Three updates on both sides; they are the warm-up too. */
async function checkEqual(step: TrainingStep, peer: Peer, precision: 'f32' | 'bf16'): Promise<void> {
  for (let update = 1; update <= 3; update++) {
    const ours = await step.update();
    const theirs = await peer.ask<PeerRun>('run 1');
    const apart = (a: number, b: number) => Math.abs(a - b) / Math.abs(b);
    const { loss, norm } = tolerance[precision];
    const same = apart(ours.loss, theirs.loss) < loss && apart(ours.gradientNorm, theirs.gradient_norm) < norm;
    const sides = `loss ${ours.loss} and ${theirs.loss}, gradient norm ${ours.gradientNorm} and ${theirs.gradient_norm}`;
    if (!same) throw new Error(`Update ${update} here and in ${peer.name} is not the same: ${sides}.`);
    console.error(`update ${update}: ${sides}`);
  }
}
