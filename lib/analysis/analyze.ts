/**
 * Measures every kept checkpoint of a run, layer by layer: what k-means clusters of its features say of phones, how similar it
 * is to the transformer's input and to log-mel, how well a linear probe reads phones. One JSON file for each checkpoint in
 * analysis/ of the run folder; files that are there already, made with the same settings, are kept.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { wrappedAsync } from '../binding';
import { assignClusters, fitKmeans } from '../cluster';
import { openCorpus, partition } from '../data/corpus';
import { HubertkitError } from '../errors';
import { readJson, writeJsonAtomic } from '../formats/atomic';
import { HubertModel } from '../nn/model';
import type { Checkpoint } from '../train/checkpoints';
import { firstDifference } from '../train/config';
import { openRun, type Run } from '../train/run';
import { splitUtterances } from '../train/splits';
import { autoencoderIndex, dropAtTop } from './autoencoder';
import { CrossMoments, ckaFromMoments } from './cka';
import { type ClusteringMeasures, clusteringMeasures } from './clustering';
import { type EvaluationSet, evaluationSet } from './evaluation-set';
import { refuseWhenAborted } from './interrupt';
import { everyNth, type FrameMatrix, layerFeatures, logMelFeatures, mfccFeatures } from './layer-features';
import { linearProbe } from './probe';
import { SpeechSource } from './speech';

export type AnalysisMetric = 'clusters' | 'cka' | 'probe';

/** What decides the numbers: written into every file; a file made with other settings is measured anew. */
export interface AnalysisSettings {
  metrics: AnalysisMetric[];
  /** K of the k-means that every layer (and the MFCCs) is measured with. Default 100. */
  clusters: number;
  /** Frames of training speakers that k-means and probes are fitted on, at most. Default 20000. */
  fitFrames: number;
  /** Frames of held-out speakers that everything is measured on, at most. Default 12000. */
  testFrames: number;
  /** Test frames that CKA is measured on, evenly spaced. Default 4000. */
  ckaFrames: number;
  /** Passes of full k-means over the fitting frames, after one k-means++ seeding. Default 20. */
  kmeansIterations: number;
  /** Passes of the phone probe. Default 12. */
  probeEpochs: number;
  /** Of the choice of utterances, of k-means and of the probe. Default 1. */
  seed: number;
}

export interface AnalyzeOptions extends Partial<AnalysisSettings> {
  /** Features held at a time; more layers than fit are measured in several passes. Default 1024. */
  memoryMiB?: number;
  /** CPU threads; 0: all cores. Default: the run's. */
  threads?: number;
  onProgress?: (progress: AnalysisProgress) => void;
  /** Stops between layers; the files written so far are kept. */
  signal?: AbortSignal;
}

export interface AnalysisProgress {
  /** `iteration-1/step-000400`. */
  checkpoint: string;
  /** Checkpoints done, of all. */
  done: number;
  of: number;
  /** The layer just measured; absent when the file was there already. */
  layer?: number;
}

/** One layer; 0 is the input of the transformer, l the output of block l. */
export interface LayerAnalysis {
  layer: number;
  pnmi?: number;
  phonePurity?: number;
  clusterPurity?: number;
  activeClusters?: number;
  /** Linear CKA (debiased) with layer 0 and with 80 log-mel energies. */
  ckaLayer0?: number;
  ckaLogMel?: number;
  /** Frame-level accuracy on held-out speakers; first and last checkpoint of an iteration only. */
  phoneProbeAccuracy?: number;
}

/** analysis/<iteration-N>-<step-NNNNNN>.json */
export interface CheckpointAnalysis {
  checkpoint: string;
  iteration: number;
  update: number;
  totalUpdates: number;
  audioSeconds: number;
  layers: LayerAnalysis[];
  /** Of ckaLayer0 (see autoencoderIndex). */
  autoencoderIndex?: number;
  /** Of PNMI: what the top layer has lost against the best. */
  dropAtTop?: number;
  /** The same network before its first update, measured alike: the control. */
  random?: { layers: LayerAnalysis[] };
  /** k-means of the same K on 39 MFCCs, measured alike: the labels of the first iteration. */
  mfcc?: Pick<ClusteringMeasures, 'pnmi' | 'phonePurity' | 'clusterPurity'>;
  /** What independent labels come to, and the accuracy of always guessing the most frequent phone. */
  chance?: { pnmi: number; phoneProbeAccuracy?: number };
  clusters: number;
  /** Test frames with a phone. */
  frames: number;
  phones: number;
  speakers: { fit: number; test: number; unseen: boolean };
  settings: AnalysisSettings;
}

const defaults: AnalysisSettings = {
  metrics: ['clusters', 'cka', 'probe'],
  clusters: 100,
  fitFrames: 20_000,
  testFrames: 12_000,
  ckaFrames: 4000,
  kmeansIterations: 20,
  probeEpochs: 12,
  seed: 1,
};

/**
 * Analyses all complete checkpoints of a run, oldest first. May be called again while the run goes on: only new checkpoints are
 * measured.
 *
 * @throws HK_CORPUS without phone alignments, HK_INTERRUPTED, what openRun throws
 */
export async function analyzeRun(folder: string, options: AnalyzeOptions = {}): Promise<CheckpointAnalysis[]> {
  const run = openRun(folder);
  const settings = settingsOf(options);
  await wrappedAsync((n) => n.setThreads((options.threads ?? run.config.threads) || os.availableParallelism()));
  const checkpoints = run.checkpoints();
  const analyses: CheckpointAnalysis[] = [];
  let ground: Ground | undefined;
  for (const [done, checkpoint] of checkpoints.entries()) {
    const report = (layer?: number) =>
      options.onProgress?.({
        checkpoint: checkpoint.name,
        done: layer === undefined ? done + 1 : done,
        of: checkpoints.length,
        layer,
      });
    const file = path.join(folder, 'analysis', `${checkpoint.name.replace('/', '-')}.json`);
    const kept = await keptAnalysis(file, settings);
    if (kept) analyses.push(kept);
    else {
      ground ??= await commonGround(run, settings);
      const analysis = await analyzeCheckpoint(run, checkpoint, ground, settings, options, analyses[0], report);
      await writeJsonAtomic(file, analysis);
      analyses.push(analysis);
    }
    report();
  }
  return analyses;
}

function settingsOf(options: AnalyzeOptions): AnalysisSettings {
  const keys = Object.keys(defaults) as (keyof AnalysisSettings)[];
  const settings = Object.fromEntries(
    keys.map((key) => [key, options[key] ?? defaults[key]]),
  ) as unknown as AnalysisSettings;
  for (const metric of settings.metrics) {
    if (!defaults.metrics.includes(metric)) {
      throw new HubertkitError(
        'HK_ARGUMENT',
        `There is no metric "${metric}". There are: ${defaults.metrics.join(', ')}.`,
      );
    }
  }
  for (const key of keys) {
    const value = settings[key];
    if (typeof value === 'number' && !(Number.isInteger(value) && value >= (key === 'seed' ? 0 : 1))) {
      throw new HubertkitError('HK_ARGUMENT', `Analysis, ${key}: expected a whole number, got ${value}.`);
    }
  }
  return settings;
}

/** The analysis in `file`, when it was made with these settings. */
async function keptAnalysis(file: string, settings: AnalysisSettings): Promise<CheckpointAnalysis | undefined> {
  if (!fs.existsSync(file)) return undefined;
  const analysis = await readJson<CheckpointAnalysis>(file);
  return firstDifference(analysis.settings, settings) === undefined ? analysis : undefined;
}

/** What all checkpoints of a run are measured with. */
interface Ground {
  set: EvaluationSet;
  fitLabels: Int32Array;
  testLabels: Int32Array;
  speech: SpeechSource;
  mfcc?: ClusteringMeasures;
  /** Every `ckaStep`-th test frame takes part in CKA. */
  ckaStep: number;
  logMel?: Float32Array;
  logMelMoments?: CrossMoments;
}

async function commonGround(run: Run, settings: AnalysisSettings): Promise<Ground> {
  const corpus = await openCorpus(run.config.corpus);
  const { train } = splitUtterances(corpus.utterances, run.config);
  const training = new Set(train);
  const parts = partition(corpus.utterances.filter((u) => !training.has(u)));
  const set = evaluationSet({
    train,
    heldOut: parts.test.length > 0 ? parts.test : parts.valid,
    maxFitFrames: settings.fitFrames,
    maxTestFrames: settings.testFrames,
    seed: settings.seed,
  });
  const labelsOf = (list: EvaluationSet['fit']) => Int32Array.from(list.flatMap(({ labels }) => [...labels]));
  const config = (await readModelConfig(run)).config;
  const ground: Ground = {
    set,
    fitLabels: labelsOf(set.fit),
    testLabels: labelsOf(set.test),
    speech: new SpeechSource(config),
    ckaStep: Math.ceil(set.testFrames / settings.ckaFrames),
  };
  if (settings.metrics.includes('clusters')) {
    ground.mfcc = await clusterMeasures(await mfccFeatures(set.fit), await mfccFeatures(set.test), ground, settings);
  }
  if (settings.metrics.includes('cka')) {
    ground.logMel = everyNth(await logMelFeatures(set.test), ground.ckaStep);
    ground.logMelMoments = momentsOf(ground.logMel, 80, ground.logMel, 80);
  }
  return ground;
}

function readModelConfig(run: Run): Promise<{ config: HubertModel['config'] }> {
  return readJson(path.join(run.checkpoint('latest').folder, 'model.json'));
}

async function analyzeCheckpoint(
  run: Run,
  checkpoint: Checkpoint,
  ground: Ground,
  settings: AnalysisSettings,
  options: AnalyzeOptions,
  first: CheckpointAnalysis | undefined,
  report: (layer: number) => void,
): Promise<CheckpointAnalysis> {
  const { totalUpdates, audioSeconds } = run.state(checkpoint);
  const { iteration, update } = checkpoint;
  const ends = run.checkpoints().filter((c) => c.iteration === iteration);
  const isEnd = checkpoint.name === ends[0].name || checkpoint.name === ends[ends.length - 1].name;
  const probing = settings.metrics.includes('probe') && isEnd;
  const measured = await measureLayers(checkpoint, ground, { ...settings, probing }, options, report);
  const { layers, majority } = measured;
  const isRandom = (a: { iteration: number; update: number } | undefined) => a?.iteration === 1 && a.update === 0;
  const random = isRandom(checkpoint) ? layers : isRandom(first) ? first!.layers : undefined;
  const { mfcc, set, testLabels } = ground;
  const similarity = layers.map(({ ckaLayer0 }) => ckaLayer0);
  const information = layers.map(({ pnmi }) => pnmi);
  const complete = (values: (number | undefined)[]): values is number[] => values.every((v) => v !== undefined);
  return {
    checkpoint: checkpoint.name,
    iteration,
    update,
    totalUpdates,
    audioSeconds,
    layers,
    ...(complete(similarity) && { autoencoderIndex: autoencoderIndex(similarity) }),
    ...(complete(information) && { dropAtTop: dropAtTop(information) }),
    ...(random && { random: { layers: random } }),
    ...(mfcc && {
      mfcc: { pnmi: mfcc.pnmi, phonePurity: mfcc.phonePurity, clusterPurity: mfcc.clusterPurity },
      chance: { pnmi: mfcc.chancePnmi, ...(majority !== undefined && { phoneProbeAccuracy: majority }) },
    }),
    clusters: settings.clusters,
    frames: testLabels.filter((label) => label >= 0).length,
    phones: set.phones.length,
    speakers: { fit: set.fitSpeakers, test: set.testSpeakers, unseen: set.unseenSpeakers },
    settings,
  };
}

/** As many layers at a time as the memory holds; layer 0, which the others are compared with, is gathered with each of them. */
async function measureLayers(
  checkpoint: Checkpoint,
  ground: Ground,
  settings: AnalysisSettings & { probing: boolean },
  options: AnalyzeOptions,
  report: (layer: number) => void,
): Promise<{ layers: LayerAnalysis[]; majority?: number }> {
  await using model = await HubertModel.load(checkpoint.folder);
  const { layers: depth, hiddenSize } = model.config;
  const { set, speech, ckaStep } = ground;
  const bytes = 4 * hiddenSize * (set.fitFrames + set.testFrames);
  const together = Math.max(1, Math.floor(((options.memoryMiB ?? 1024) * 2 ** 20) / bytes) - 1);
  const all = Array.from({ length: depth + 1 }, (_, layer) => layer);
  const results: LayerAnalysis[] = [];
  let majority: number | undefined;
  for (let start = 0; start <= depth; start += together) {
    const group = all.slice(start, start + together);
    const features = await layerFeatures(
      model,
      [...new Set([0, ...group])],
      [set.fit, set.test],
      speech,
      options.signal,
    );
    const input = settings.metrics.includes('cka') ? everyNth(features.get(0)![1], ckaStep) : undefined;
    const inputMoments = input && momentsOf(input, hiddenSize, input, hiddenSize);
    for (const layer of group) {
      refuseWhenAborted(options.signal, 'The analysis');
      const [fit, test] = features.get(layer)!;
      const result: LayerAnalysis = { layer };
      if (settings.metrics.includes('clusters')) {
        const { pnmi, phonePurity, clusterPurity, activeClusters } = await clusterMeasures(fit, test, ground, settings);
        Object.assign(result, { pnmi, phonePurity, clusterPurity, activeClusters });
      }
      if (input) Object.assign(result, similarities(everyNth(test, ckaStep), input, inputMoments!, ground, hiddenSize));
      if (settings.probing) {
        const frames = (matrix: FrameMatrix, labels: Int32Array) => ({ features: matrix.data, labels });
        const probe = await linearProbe(frames(fit, ground.fitLabels), frames(test, ground.testLabels), {
          classes: set.phones.length,
          epochs: settings.probeEpochs,
          seed: settings.seed,
          signal: options.signal,
        });
        result.phoneProbeAccuracy = probe.accuracy;
        majority = probe.majorityAccuracy;
      }
      results.push(result);
      report(layer);
    }
  }
  return { layers: results, majority };
}

/** k-means on the fitting frames, phones against clusters on the test frames. */
async function clusterMeasures(
  fit: FrameMatrix,
  test: FrameMatrix,
  ground: Ground,
  o: AnalysisSettings,
): Promise<ClusteringMeasures> {
  const codebook = await fitKmeans([fit.data], {
    clusters: o.clusters,
    dim: fit.dimensions,
    seed: o.seed,
    method: 'lloyd',
    nInit: 1,
    maxIterations: o.kmeansIterations,
  });
  const { labels } = await assignClusters(test.data, codebook);
  return clusteringMeasures(ground.testLabels, labels, { phones: ground.set.phones.length, clusters: o.clusters });
}

function similarities(
  features: Float32Array,
  input: Float32Array,
  inputMoments: CrossMoments,
  { logMel, logMelMoments }: Ground,
  size: number,
): Pick<LayerAnalysis, 'ckaLayer0' | 'ckaLogMel'> {
  const own = momentsOf(features, size, features, size);
  return {
    ckaLayer0: ckaFromMoments(momentsOf(features, size, input, size), own, inputMoments, true),
    ckaLogMel: ckaFromMoments(momentsOf(features, size, logMel!, 80), own, logMelMoments!, true),
  };
}

function momentsOf(x: Float32Array, dx: number, y: Float32Array, dy: number): CrossMoments {
  const moments = new CrossMoments(dx, dy);
  moments.add(x, y);
  return moments;
}
