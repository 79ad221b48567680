/** Times whole training steps: forward, backward, clip, AdamW, on random speech, labels and masks. */
import * as os from 'node:os';
import { wrapped, wrappedAsync } from '../binding';
import { hubertConfig, type HubertConfig, type PresetName } from '../nn/config';
import type { Checkpointing, Precision } from '../nn/graph';
import { HubertModel } from '../nn/model';
import type { OpProfile, Program } from '../nn/program';
import { type MaskedInput, predictedFrames } from '../nn/steps';
import { median, pseudoRandom, round, spread, timed } from './median';
import type { ProfiledOp } from './profile';
import { floorSeconds, measureRoofline, productRate, type Roofline } from './roofline';

export interface StepBenchOptions {
  /** Default 'cpu'. */
  device?: string;
  preset: PresetName;
  batch: number;
  /** Of each row. */
  seconds: number;
  /** Default 'f32'. */
  precision?: Precision;
  /** Default 'none'. */
  checkpoint?: Checkpointing;
  /** Default: all cores. */
  threads?: number;
  /** Steps timed (default 7) after two that are not. */
  steps?: number;
  /** Keep the preset's dropouts; default: all 0 (LayerDrop too), as the peers are measured. */
  dropout?: boolean;
  /** Also time each op. */
  profile?: boolean;
  /** What the ops of the profile are held against, where it has been measured; default: measured anew. */
  roofline?: Roofline;
}

export interface StepBenchResult {
  /** Its name and what it is. */
  device: string;
  preset: string;
  batch: number;
  seconds: number;
  precision: string;
  checkpoint: string;
  threads: number;
  dropout: boolean;
  frames: number;
  parameters: number;
  /** Steps timed. */
  steps: number;
  /** Median, quartiles, and the fastest and slowest step, in seconds. */
  step_s: number;
  low_s: number;
  high_s: number;
  min_s: number;
  max_s: number;
  audio_s_per_s: number;
  /** Multiply-adds times two of all matrix products, forward and backward, of a step that computes every frame of every block. */
  gflop: number;
  gflops: number;
  /** Planned before the first step: parameters, gradients, moments, intermediates, scratch. */
  planned_bytes: number;
  /** Resident memory of the process, and what of it has come since before the model. */
  rss_bytes: number;
  rss_growth_bytes: number;
  roofline?: Roofline;
  /** With a profile, model-FLOP utilisation: `gflops` as a share of what a large product reaches on the device. */
  utilisation?: number;
  /** Every op of the step: median seconds of five steps, and its floor. */
  profile?: ProfiledOp[];
}

const withoutDropout = { inputDropout: 0, hiddenDropout: 0, attentionDropout: 0, activationDropout: 0, layerDrop: 0 };

/** A model and a batch. */
export interface TrainingWork {
  model: HubertModel;
  input: MaskedInput & { waveform: Float32Array };
}

/** The same, and updates on it. */
export interface TrainingStep extends TrainingWork, AsyncDisposable {
  program: Program;
  /** One update: mean cross-entropy of the masked frames + 10 x feature penalty, clip 10, AdamW at 5e-4. */
  update(options?: { profile?: boolean }): Promise<{ loss: number; gradientNorm: number }>;
}

const samplesOf = (seconds: number) => Math.round(seconds * 16000);

/** Weights and inputs of `trainingStep`; they depend on the options alone. */
export function trainingWork(options: StepBenchOptions): TrainingWork {
  const { device = 'cpu', preset, batch, seconds, dropout = false } = options;
  const clusters = 100;
  const config = hubertConfig(preset, dropout ? {} : withoutDropout);
  const model = HubertModel.create({ config, clusters, seed: 1, device });
  const samples = samplesOf(seconds);
  const frames = model.frames(samples);
  const random = pseudoRandom(1);
  const input = {
    waveform: Float32Array.from({ length: batch * samples }, () => 0.2 * (random() - 0.5)),
    frameLengths: new Int32Array(batch).fill(frames),
    labels: Int32Array.from({ length: batch * frames }, () => Math.floor(random() * clusters)),
    // Spans of 10 frames covering 57 %, as masking with p = .8 does.
    mask: Uint8Array.from({ length: batch * frames }, (_, i) => (Math.floor((i % frames) / 10) % 7 < 4 ? 1 : 0)),
  };
  return { model, input };
}

/** What `benchStep` times. */
export async function trainingStep(options: StepBenchOptions): Promise<TrainingStep> {
  const { batch, seconds, precision = 'f32' } = options;
  await wrappedAsync((n) => n.setThreads(options.threads ?? os.availableParallelism()));
  const { model, input } = trainingWork(options);
  const step = model.pretraining({
    batch,
    samples: samplesOf(seconds),
    precision,
    checkpoint: options.checkpoint,
    predictedFrames: predictedFrames(input.mask),
  });
  const weights = { masked: 1 / input.mask.reduce((a, b) => a + b, 0), penalty: 10 };
  let updates = 0;
  return {
    model,
    program: await step.ready(),
    input,
    async update({ profile } = {}) {
      updates++;
      const run = { seed: 1, draw: updates, weights, profile };
      const done = await step.run(input, { ...run, update: { learningRate: 5e-4, step: updates, clip: 10 } });
      const loss = weights.masked * done.masked.loss + weights.penalty * done.featurePenalty;
      return { loss, gradientNorm: done.update!.gradientNorm };
    },
    [Symbol.asyncDispose]: () => model[Symbol.asyncDispose](),
  };
}

export async function benchStep(options: StepBenchOptions): Promise<StepBenchResult> {
  const { preset, batch, seconds, precision = 'f32', checkpoint = 'none', steps = 7, dropout = false } = options;
  const { threads = os.availableParallelism() } = options;
  const { rss: before } = process.memoryUsage();
  await using step = await trainingStep(options);
  const { model, program } = step;
  const samples = samplesOf(seconds);
  const times = await timed(() => step.update(), steps, 2);
  const { rss } = process.memoryUsage();
  const stepSeconds = median(times);
  const gflop = (batch * trainingFlops(model.config, samples)) / 1e9;
  const result = {
    device: `${model.device} (${wrapped((n) => n.deviceInfo(model.device)).variant})`,
    preset,
    batch,
    seconds,
    precision,
    checkpoint,
    threads,
    dropout,
    frames: model.frames(samples),
    parameters: model.parameterCount,
    steps,
    step_s: round(stepSeconds, 5),
    low_s: spread(times).low,
    high_s: spread(times).high,
    min_s: round(times[0], 5),
    max_s: round(times[times.length - 1], 5),
    audio_s_per_s: round((batch * seconds) / stepSeconds, 3),
    gflop: round(gflop, 1),
    gflops: round(gflop / stepSeconds, 1),
    planned_bytes: program.memory.arena + program.memory.scratch + program.memory.buffers + 16 * model.store.size,
    rss_bytes: rss,
    rss_growth_bytes: rss - before,
  };
  if (!options.profile) return result;
  const roofline = options.roofline ?? (await measureRoofline(model.device, precision));
  const utilisation = round(result.gflops / productRate(roofline, precision), 4);
  return { ...result, roofline, utilisation, profile: await profileOf(step, roofline, precision) };
}

async function profileOf(step: TrainingStep, roofline: Roofline, precision: Precision): Promise<ProfiledOp[]> {
  const runs: OpProfile[][] = [];
  for (let i = 0; i < 5; i++) {
    await step.update({ profile: true });
    runs.push(step.program.lastProfile);
  }
  return runs[0].map((op, i) => ({
    ...op,
    seconds: median(runs.map((run) => run[i].seconds).sort((a, b) => a - b)),
    floor_s: floorSeconds(op, roofline, precision),
  }));
}

/** FLOP (2 x multiply-adds) of forward and backward of one row: convolutions, projection, positional convolution, attention, feed-forward. */
export function trainingFlops(c: HubertConfig, samples: number): number {
  const { convDim, hiddenSize: d, intermediateSize, layers } = c;
  let length = samples;
  let convolutions = 0;
  c.convKernels.forEach((kernel, i) => {
    length = Math.floor((length - kernel) / c.convStrides[i]) + 1;
    const input = i === 0 ? 1 : convDim;
    convolutions += 2 * length * input * convDim * kernel * (i === 0 ? 2 : 3);
  });
  const t = length;
  const projection = 3 * 2 * t * convDim * d;
  const positional = 3 * 2 * t * d * (d / c.posConvGroups) * c.posConvKernel;
  const attention = 3 * layers * (2 * t * 4 * d * d + 4 * t * t * d);
  const feedForward = 3 * layers * 4 * t * d * intermediateSize;
  return convolutions + projection + positional + attention + feedForward;
}
