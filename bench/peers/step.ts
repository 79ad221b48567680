/** Whole training steps beside PyTorch: first the same losses and gradient norms from the same weights, then the times. */
import * as os from 'node:os';
import * as path from 'node:path';
import { type Spread, spread } from '../../lib/bench/median';
import {
  type StepBenchOptions,
  type TrainingStep,
  type TrainingWork,
  trainingStep,
  trainingWork,
} from '../../lib/bench/step';
import { writeSafetensors } from '../../lib/formats/safetensors';
import { type Comparison, interleaved, repeated } from './compare';
import { inTemporaryFolder, Peer } from './peer';

interface PeerRun {
  seconds: number[];
  loss: number;
  gradient_norm: number;
}

/** What must be the same on both sides. */
export interface Update {
  loss: number;
  gradientNorm: number;
}

/** A step in PyTorch on a GPU. */
export interface PyTorchOnGpu {
  peer: string;
  step_s: Spread;
  audio_s_per_s: number;
  /** The first three. */
  updates: Update[];
}

/** How far loss and gradient norm may lie apart, as a share of them. */
const tolerance = { f32: { loss: 1e-4, norm: 1e-3 }, bf16: { loss: 1e-2, norm: 5e-2 } };

/**
 * Times the step here and in PyTorch, `updates` in a turn, behind one that is not timed: the first after a pause is up to 10 % slower on
 * every side. PyTorch twice: waiting threads that spin (OpenMP's default, best on a quiet machine) and that sleep at once (better beside
 * other work). Throws MissingPeer without PyTorch, and an error where the two models are not the same.
 */
export async function compareStep(options: StepBenchOptions, updates: number, rounds: number): Promise<Comparison> {
  const { preset, batch, seconds, precision = 'f32', threads = os.availableParallelism() } = options;
  return inTemporaryFolder(async (folder) => {
    await using step = await trainingStep(options);
    await exportStep(step, batch, folder);
    const start = (settings: NodeJS.ProcessEnv) =>
      Peer.start('step.py', [folder, precision, threads], threads, settings);
    await using spinning = await start({ GOMP_SPINCOUNT: undefined });
    await using sleeping = await start({ GOMP_SPINCOUNT: '1000' });
    await checkEqual(step, [spinning, sleeping], precision);
    const side = (peer: Peer, how: string) => ({
      name: `${peer.name}, ${how}`,
      turn: async () => (await peer.ask<PeerRun>(`run ${updates + 1}`)).seconds.slice(1),
    });
    return await interleaved(
      `${preset} ${batch} x ${seconds} s, ${precision}`,
      { name: 'hubertkit', turn: async () => (await repeated(updates + 1, () => step.update())).slice(1) },
      [side(spinning, 'spinning'), side(sleeping, 'sleeping')],
      rounds,
    );
  });
}

/** PyTorch alone on a GPU, as it is written or compiled (torch.compile): twenty updates after six that are not timed. */
export async function timePyTorchOnGpu(
  options: StepBenchOptions,
  how: 'eager' | 'compile',
  environment: NodeJS.ProcessEnv,
): Promise<PyTorchOnGpu> {
  const { batch, seconds, precision = 'f32', threads = os.availableParallelism() } = options;
  return inTemporaryFolder(async (folder) => {
    await exportStep(trainingWork({ ...options, device: 'cpu' }), batch, folder);
    await using peer = await Peer.start('step.py', [folder, precision, threads, 'cuda', how], threads, environment);
    const updates: Update[] = [];
    for (let i = 0; i < 3; i++) updates.push(updateOf(await peer.ask<PeerRun>('run 1')));
    await peer.ask('run 3');
    const step_s = spread((await peer.ask<PeerRun>('run 20')).seconds);
    return { peer: `${peer.name}, ${how}`, step_s, audio_s_per_s: (batch * seconds) / step_s.median, updates };
  });
}

/** The first three updates here, on the device of `options`. */
export async function firstUpdates(options: StepBenchOptions): Promise<Update[]> {
  await using step = await trainingStep(options);
  const updates: Update[] = [];
  for (let i = 0; i < 3; i++) updates.push(await step.update());
  return updates;
}

const updateOf = ({ loss, gradient_norm }: PeerRun): Update => ({ loss, gradientNorm: gradient_norm });

/** Loss and gradient norm are those of a peer, within rounding. */
export function sameUpdate(ours: Update, theirs: Update, precision: 'f32' | 'bf16'): boolean {
  const { loss, norm } = tolerance[precision];
  const apart = (a: number, b: number) => Math.abs(a - b) / Math.abs(b);
  return apart(ours.loss, theirs.loss) < loss && apart(ours.gradientNorm, theirs.gradientNorm) < norm;
}

async function exportStep({ model, input }: TrainingWork, batch: number, folder: string): Promise<void> {
  await model.save(folder);
  const rows = (length: number) => [batch, length / batch];
  await writeSafetensors(path.join(folder, 'inputs.safetensors'), {
    waveform: { dtype: 'F32', shape: rows(input.waveform.length), data: input.waveform },
    labels: { dtype: 'I32', shape: rows(input.labels.length), data: input.labels },
    mask: { dtype: 'U8', shape: rows(input.mask.length), data: input.mask },
  });
}

/** Three updates on every side; they are the warm-up too. */
async function checkEqual(step: TrainingStep, peers: Peer[], precision: 'f32' | 'bf16'): Promise<void> {
  for (let update = 1; update <= 3; update++) {
    const ours = await step.update();
    for (const peer of peers) {
      const theirs = updateOf(await peer.ask<PeerRun>('run 1'));
      if (sameUpdate(ours, theirs, precision)) continue;
      throw new Error(
        `Update ${update} here and in ${peer.name} is not the same: loss ${ours.loss} and ${theirs.loss}, ` +
          `gradient norm ${ours.gradientNorm} and ${theirs.gradientNorm}.`,
      );
    }
  }
}
