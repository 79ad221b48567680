/**
 * How long experiments will take here: what has to be trained, relabelled, analysed and fine-tuned follows from the plan, how fast
 * each of them goes is measured on a model that has learned nothing. Takes about a minute for the small presets; nothing of it is kept.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { type AnalysisMetric, analyzeRun } from '../analysis';
import { lengthBuckets } from '../analysis/speech';
import { median, pseudoRandom, timed } from '../bench/median';
import { wrappedAsync } from '../binding';
import { fitKmeans } from '../cluster';
import { openCorpus } from '../data/corpus';
import { type Corpus, frameCount, sampleRate, type Utterance } from '../data/types';
import { type FinetuneConfig, resolveFinetuneConfig } from '../finetune';
import { shareOfCores } from '../finetune/side-by-side';
import { fineTuningSplits, type Splits } from '../finetune/splits';
import { writeFileAtomic, writeJsonAtomic } from '../formats/atomic';
import { HubertModel } from '../nn/model';
import { predictedFrames, type SpeechInput } from '../nn/steps';
import { configYaml, modelConfig, type PretrainConfig } from '../train';
import { type Bucket, batchesPerEpoch, cropBuckets } from '../train/batches';
import { framesOf, secondsOf as audioOf } from '../train/speech';
import { splitUtterances } from '../train/splits';
import { accumulation } from '../train/updates';
import { isComplete, makeCorpus } from './engine';
import type { CellFineTuning } from './experiment';
import { tuningOptions } from './fine-tunings';
import { type ExperimentOptions, type Plan, type PlannedCell, planExperiment } from './plan';
import { IterationPool } from './pool';

/** What was measured here. */
export interface Speed {
  /** Audio-seconds a second of training, of a forward pass and of all fine-tunings that run at once. */
  pretraining: number;
  forward: number;
  finetuning: number;
  /** Fine-tunings that run at once. */
  processes: number;
  /** Of compiling a step for one batch shape. */
  compileSeconds: number;
  /** Of fitting an iteration's centroids. */
  kmeansSeconds: number;
}

export interface CellEstimate {
  experiment: string;
  cell: string;
  seed: number;
  /** Of all iterations, and of those that another cell trains. */
  updates: number;
  sharedUpdates: number;
  /** Audio that this cell itself is trained on. */
  audioSeconds: number;
  fineTunings: number;
  pretrainingSeconds: number;
  analysisSeconds: number;
  finetuningSeconds: number;
  /** All of it. */
  seconds: number;
  /** It is there already. */
  complete: boolean;
}

export interface Estimate {
  speed: Speed;
  cells: CellEstimate[];
  /** Of the cells that are not complete. */
  audioSeconds: number;
  seconds: number;
}

/**
 * Predicts experiments that are run one after the other with the same preset and corpus, which is made when it is not there.
 * @throws what planExperiment and openCorpus throw
 */
export async function estimateExperiments(
  given: readonly ExperimentOptions[],
  { signal }: { signal?: AbortSignal } = {},
): Promise<Estimate> {
  const plans = given.map(planExperiment);
  await makeCorpus(plans[0], { signal });
  const tuning = plans.find(({ cells }) => cells.some(({ fineTunings }) => fineTunings.length > 0));
  const ground = await measure(plans[0], tuning, signal);
  const rehearsed = new Map<string, number>();
  const pool = IterationPool.of(path.dirname(path.resolve(plans[0].out)));
  const cells: CellEstimate[] = [];
  for (const plan of plans) {
    const { metrics } = plan;
    const known = rehearsed.get(metrics.join());
    const analysis = known ?? (await rehearseAnalysis(plan, metrics, signal));
    rehearsed.set(metrics.join(), analysis);
    for (const cell of plan.cells) cells.push(cellEstimate(plan, cell, ground, analysis, pool));
  }
  const left = cells.filter(({ complete }) => !complete);
  const sum = (key: 'audioSeconds' | 'seconds') => left.reduce((total, cell) => total + cell[key], 0);
  return { speed: ground.speed, cells, audioSeconds: sum('audioSeconds'), seconds: sum('seconds') };
}

/** Speeds, and the audio that they apply to. */
interface Ground {
  speed: Speed;
  /** Audio of an update, after cropping. */
  updateAudio: number;
  /** Batch shapes that programs are compiled for. */
  shapes: number;
  seconds: { train: number; valid: number; dev: number; test: number };
}

/** Steps that are timed, after one that is not. */
const timedSteps = 5;
/** Rows that the k-means is timed on at most. */
const kmeansRows = 100_000;

async function measure(plan: Plan, tuning: Plan | undefined, signal?: AbortSignal): Promise<Ground> {
  const [{ config }] = plan.cells;
  await wrappedAsync((n) => n.setThreads(config.threads || os.availableParallelism()));
  const corpus = await openCorpus(config.corpus, { signal });
  const { train, valid } = splitUtterances(corpus.utterances, config);
  const labelled = train.map((utterance) => ({ utterance, labels: new Int32Array(frameCount(utterance.samples)) }));
  const buckets = cropBuckets(labelled, framesOf(config.maxSeconds), framesOf(config.batchSeconds));
  const usual = buckets.reduce((a, b) => (b.members.length > a.members.length ? b : a));
  const batchAudio = audioOf(usual.batch * usual.frames);
  const clusters = config.schedule[0].clusters;
  await using model = HubertModel.create({ config: modelConfig(config), clusters, seed: 1, device: config.device });
  const input = noise(model, usual);
  const frames = usual.batch * usual.frames;
  const masked = {
    ...input,
    labels: new Int32Array(frames),
    mask: Uint8Array.from({ length: frames }, (_, i) => (i % 20 < 10 ? 1 : 0)),
  };
  const training = model.pretraining({
    ...usual,
    precision: config.precision,
    predictedFrames: predictedFrames(masked.mask),
  });
  const compileSeconds = await secondsOf(() => training.ready());
  const optimiser = { learningRate: 0, step: 1 };
  const trainingSeconds = await usualSeconds(() =>
    training.run(masked, { seed: 1, draw: 1, weights: { masked: 1 / frames, penalty: 1 }, update: optimiser }),
  );
  const extracting = model.extracting(usual, { layers: [model.config.layers] });
  const forwardSeconds = await usualSeconds(() => extracting.run(input));
  const splits = tuning ? await tuningSplits(tuning, corpus, signal) : { train: [], dev: [], test: [] };
  const fit = await kmeansSeconds(config, model.config.hiddenSize, secondsOfAll(train));
  return {
    speed: {
      pretraining: batchAudio / trainingSeconds,
      forward: batchAudio / forwardSeconds,
      ...(tuning ? await finetuningSpeed(tuning, splits.train) : { finetuning: Number.NaN, processes: 1 }),
      compileSeconds,
      kmeansSeconds: fit,
    },
    updateAudio: accumulation(config) * meanAudio(buckets),
    shapes: buckets.length,
    seconds: {
      train: secondsOfAll(train),
      valid: secondsOfAll(valid),
      dev: secondsOfAll(splits.dev),
      test: secondsOfAll(splits.test),
    },
  };
}

/** Of the corpus that is fine-tuned on. */
async function tuningSplits({ finetune }: Plan, pretraining: Corpus, signal?: AbortSignal): Promise<Splits<Utterance>> {
  const { utterances } = finetune.corpus ? await openCorpus(finetune.corpus, { signal }) : pretraining;
  const usable = utterances.filter(({ transcript }) => transcript !== undefined);
  return fineTuningSplits(usable, { trainSplits: [], devSplits: [], testSplits: [] });
}

/** Audio of a batch, mean over an epoch. */
function meanAudio(buckets: readonly Bucket[]): number {
  const frames = buckets.reduce((sum, b) => sum + Math.ceil(b.members.length / b.batch) * b.batch * b.frames, 0);
  return audioOf(frames / batchesPerEpoch(buckets));
}

function noise(
  model: HubertModel,
  { batch, samples, frames }: { batch: number; samples: number; frames: number },
): SpeechInput {
  const random = pseudoRandom(1);
  const mel = model.config.frontEnd === 'mel';
  const data = Float32Array.from({ length: batch * (mel ? frames * 80 : samples) }, () => 0.2 * (random() - 0.5));
  return { [mel ? 'mel' : 'waveform']: data, frameLengths: new Int32Array(batch).fill(frames) };
}

/** Steps of fine-tuning in the shape that most examples have; of one process, times those that run at once. */
async function finetuningSpeed(
  plan: Plan,
  train: readonly Utterance[],
): Promise<Pick<Speed, 'finetuning' | 'processes'>> {
  const cell = plan.cells.find(({ fineTunings }) => fineTunings.length > 0)!;
  const config = modelConfig(cell.config);
  const o = tuningConfig(plan, cell, cell.fineTunings[0]);
  const { threads, processes } = shareOfCores(o, config);
  await wrappedAsync((n) => n.setThreads(threads || os.availableParallelism()));
  const buckets = lengthBuckets(
    train.map((utterance) => ({ utterance, frames: frameCount(utterance.samples) })),
    o.batchSeconds,
  );
  const usual = buckets.reduce((a, b) => (b.members.length > a.members.length ? b : a));
  await using model = HubertModel.create({
    config,
    vocabulary: o.letters.length + 2,
    seed: 1,
    device: cell.config.device,
  });
  const targetLength = Math.max(2, Math.round(usual.frames / 4));
  const step = model.ctc({ ...usual, targetLength }, { frozen: ['feature_extractor.'] });
  const targets = Int32Array.from({ length: usual.batch * targetLength }, (_, i) => 2 + (i % 3));
  const targetLengths = new Int32Array(usual.batch).fill(targetLength >> 1);
  const input = { ...noise(model, usual), targets, targetLengths };
  const seconds = await usualSeconds(() => step.run(input, { seed: 1, draw: 1, update: { learningRate: 0, step: 1 } }));
  return { finetuning: (processes * audioOf(usual.batch * usual.frames)) / seconds, processes };
}

async function kmeansSeconds({ kmeans, schedule }: PretrainConfig, dim: number, trainSeconds: number): Promise<number> {
  const rows = Math.min(kmeansRows, Math.ceil(50 * trainSeconds * kmeans.share));
  const random = pseudoRandom(2);
  const data = Float32Array.from({ length: rows * dim }, random);
  const { clusters } = schedule[0];
  return secondsOf(() =>
    fitKmeans([data], {
      clusters,
      dim,
      seed: 1,
      nInit: kmeans.initialisations,
      maxIterations: kmeans.maxIterations,
      batchSize: kmeans.batchSize,
      maxNoImprovement: kmeans.patience,
    }),
  );
}

/** Seconds of the analysis of a checkpoint: of a model that has learned nothing, in a folder that is removed again. */
async function rehearseAnalysis(
  { cells: [{ config }], alignments }: Plan,
  metrics: AnalysisMetric[],
  signal?: AbortSignal,
): Promise<number> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-rehearsal-'));
  try {
    const checkpoint = path.join(folder, 'iteration-1', 'checkpoints', 'step-000000');
    fs.mkdirSync(checkpoint, { recursive: true });
    await using model = HubertModel.create({ config: modelConfig(config), clusters: 2, seed: 1 });
    await model.save(checkpoint);
    const state = { iteration: 1, update: 0, totalUpdates: 0, audioSeconds: 0 };
    await writeJsonAtomic(path.join(checkpoint, 'state.json'), state);
    await writeFileAtomic(path.join(checkpoint, 'DONE'), '');
    await writeFileAtomic(path.join(folder, 'config.yaml'), configYaml({ ...config, out: folder }));
    return await secondsOf(() => analyzeRun(folder, { metrics, alignments, signal }));
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** What is left to do for a cell when all cells before it have been done. */
function cellEstimate(
  plan: Plan,
  cell: PlannedCell,
  { speed, updateAudio, shapes, seconds }: Ground,
  checkpointSeconds: number,
  pool: IterationPool,
): CellEstimate {
  const { schedule, kmeans, validateEvery, checkpoints } = cell.config;
  const isNew = cell.keys.map((key) => !pool.has(key));
  pool.promise(cell.keys, cell.folder);
  const updatesOf = (chosen: typeof schedule) => chosen.reduce((sum, { updates }) => sum + updates, 0);
  const trained = schedule.filter((_, i) => isNew[i]);
  const updates = updatesOf(trained);
  const relabelled = trained.filter(({ teacher }) => teacher !== 'mfcc').length;
  const heard = relabelled * ((1 + kmeans.share) * seconds.train + seconds.valid);
  const validated = (updates / validateEvery + trained.length) * seconds.valid;
  const pretrainingSeconds =
    (updates * updateAudio) / speed.pretraining +
    (heard + validated) / speed.forward +
    trained.length * (speed.kmeansSeconds + shapes * speed.compileSeconds);
  const analysisSeconds = trained.length * checkpoints.keep * checkpointSeconds;
  const finetuningSeconds = cell.fineTunings.reduce(
    (sum, tuning) => sum + fineTuningSeconds(tuningConfig(plan, cell, tuning), speed, seconds, shapes),
    0,
  );
  return {
    experiment: plan.experiment.name,
    cell: cell.cell.name,
    seed: cell.seed,
    updates: updatesOf(schedule),
    sharedUpdates: updatesOf(schedule) - updates,
    audioSeconds: updates * updateAudio,
    fineTunings: cell.fineTunings.length,
    pretrainingSeconds,
    analysisSeconds,
    finetuningSeconds,
    seconds: pretrainingSeconds + analysisSeconds + finetuningSeconds,
    complete: isComplete(cell),
  };
}

/** Updates, the curve's evaluations, the end on all of dev and test; frozen and free updates are programs of their own. */
function fineTuningSeconds(
  { updates, batchSeconds, evaluations, curveSeconds }: FinetuneConfig,
  speed: Speed,
  { dev, test }: Ground['seconds'],
  shapes: number,
): number {
  const evaluated = (evaluations + 1) * Math.min(curveSeconds, dev) + dev + test;
  const compiling = 4 * shapes * speed.compileSeconds;
  return (updates * batchSeconds) / speed.finetuning + evaluated / speed.forward + compiling / speed.processes;
}

function tuningConfig(plan: Plan, cell: PlannedCell, tuning: CellFineTuning): FinetuneConfig {
  return resolveFinetuneConfig({ corpus: plan.corpus, ...tuningOptions(plan, cell, tuning) }, modelConfig(cell.config));
}

const secondsOfAll = (utterances: readonly Utterance[]) =>
  utterances.reduce((sum, { samples }) => sum + samples, 0) / sampleRate;

async function secondsOf(work: () => Promise<unknown>): Promise<number> {
  return (await timed(work, 1, 0))[0];
}

/** Median seconds of a step. */
async function usualSeconds(step: () => Promise<unknown>): Promise<number> {
  return median(await timed(step, timedSteps, 1));
}
